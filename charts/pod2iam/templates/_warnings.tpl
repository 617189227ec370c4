{{/* Warnings in the notes about values that are more often a mistake than intended: a YAML list of sentences. */}}
{{- define "pod2iam.warnings" -}}
{{- $v := .Values -}}
{{- $warnings := list -}}
{{- if ne $v.guard.mode "remove" -}}
{{- if eq (int $v.injector.replicas) 1 -}}
{{- $warnings = append $warnings "injector.replicas is 1: whenever that pod is not running, for example while its node is drained, no pod that asks for a role is admitted. Set it to 2 or more." -}}
{{- else if not $v.injector.podDisruptionBudget.enabled -}}
{{- $warnings = append $warnings "injector.podDisruptionBudget.enabled is false: all replicas of the injector may be evicted at once, and then no pod that asks for a role is admitted." -}}
{{- end -}}
{{- if ne (toJson $v.guard.nodeSelector) (toJson (dict "kubernetes.io/os" "linux")) -}}
{{- $warnings = append $warnings "guard.nodeSelector excludes nodes: on those, pods can use the node's own role, and pods that ask for a role do not start. Exclude only nodes that run no pods of users." -}}
{{- end -}}
{{- if $v.guard.affinity -}}
{{- $warnings = append $warnings "guard.affinity may exclude nodes: on those, pods can use the node's own role, and pods that ask for a role do not start. Exclude only nodes that have no instance metadata (Fargate, hybrid), or that run no pods of users." -}}
{{- end -}}
{{- range $v.guard.pools -}}
{{- if or (dig "guard" "affinity" "" .) (ne (dig "guard" "nodeSelector" (dict "kubernetes.io/os" "linux") . | toJson) (toJson (dict "kubernetes.io/os" "linux"))) -}}
{{- $warnings = append $warnings (printf "the pool %s of guard.pools has a nodeSelector or an affinity: nodes of the pool that it excludes get no guard at all, and pods there can use the node's own role. Exclude only nodes that run no pods of users." .name) -}}
{{- end -}}
{{- end -}}
{{- if eq ($v.guard.updateStrategy.type | default "") "OnDelete" -}}
{{- $warnings = append $warnings "guard.updateStrategy.type is OnDelete: an upgrade, or a change of guard.mode from audit to enforce, takes effect on a node only when you delete its guard pod." -}}
{{- end -}}
{{- $all := false -}}
{{- range $v.guard.tolerations -}}
{{- if and (eq (default "" .operator) "Exists") (not .key) (not .effect) }}{{ $all = true }}{{ end -}}
{{- end -}}
{{- if not $all -}}
{{- $warnings = append $warnings "guard.tolerations does not tolerate every taint: a node with another taint gets no guard, and pods that tolerate that taint can use the node's own role there. Add {operator: Exists}." -}}
{{- end -}}
{{- range $name, $least := dict "injector" "192Mi" "guard" "64Mi" "broker" "160Mi" -}}
{{- with dig "resources" "limits" "memory" "" (index $v $name) -}}
{{- if lt (include "pod2iam.quantity" . | float64) (include "pod2iam.quantity" $least | float64) -}}
{{- $warnings = append $warnings (printf "%s.resources.limits.memory is %v, less than the %s with which it was measured under its highest load: it may be killed when it is needed most." $name . $least) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with $v.metrics -}}
{{- if and .prometheusRule.enabled (not (and .serviceMonitor.enabled .podMonitor.enabled)) -}}
{{- $warnings = append $warnings "metrics.prometheusRule.enabled is true without both monitors: unless your own jobs scrape injector, firewall and broker and add the label node to every series, some alerts fire permanently and others never. Set metrics.serviceMonitor.enabled and metrics.podMonitor.enabled." -}}
{{- end -}}
{{- end -}}
{{- if and (not $v.policy.namespaceRestrictions) (not $v.policy.permittedRoles) -}}
{{- $warnings = append $warnings "policy.namespaceRestrictions is false and policy.permittedRoles is empty: anybody who may create pods in a namespace that is opted in can use every role that trusts the node role." -}}
{{- end -}}
{{- if not $v.broker.requireFirewall -}}
{{- $warnings = append $warnings "broker.requireFirewall is false: pods also get credentials on nodes whose block is not proven." -}}
{{- end -}}
{{- if has "web-identity" $v.broker.credentialSources -}}
{{- range $name := list "sessionTags" "extraSessionTags" "sourceIdentity" -}}
{{- if get $v.broker $name -}}
{{- $warnings = append $warnings (printf "broker.%s is set, and broker.credentialSources has web-identity: pods of namespaces with that source get no credentials, also those that are already running, because AssumeRoleWithWebIdentity has neither session tags nor a source identity. Annotate these namespaces with pod2iam.dev/credential-source=node-role, and create their pods again." $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $keys := false -}}
{{- range $v.broker.extraEnv }}{{ if eq .name "AWS_ACCESS_KEY_ID" }}{{ $keys = true }}{{ end }}{{ end -}}
{{- if and (gt (int $v.broker.sessionDuration) 3600) (not $keys) -}}
{{- $warnings = append $warnings (printf "broker.sessionDuration is %d, but with an instance's role STS refuses more than 3600, so no pod would get credentials. Set it to 3600 or less, unless the broker has keys of an IAM user." (int $v.broker.sessionDuration)) -}}
{{- end -}}
{{- end -}}
{{- toYaml $warnings -}}
{{- end -}}
