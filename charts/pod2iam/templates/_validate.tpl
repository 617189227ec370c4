{{/* Checks values that depend on each other. The schema checks each value alone; here each refusal is a sentence with its remedy. */}}
{{- define "pod2iam.validate" -}}
{{- $v := .Values -}}
{{- $proof := include "pod2iam.gateProof" . -}}
{{- if and (eq $v.guard.mode "audit") (eq $proof "enforce") -}}
{{- fail "gate.proof=enforce cannot be combined with guard.mode=audit: nothing is blocked then, so no injected pod would ever start. Leave gate.proof empty." -}}
{{- end -}}
{{- if and (ne $v.guard.mode "audit") (eq $proof "report") -}}
{{- fail (printf "gate.proof=report cannot be combined with guard.mode=%s: pods would start on nodes whose block is not proven. Leave gate.proof empty, or set guard.mode=audit." $v.guard.mode) -}}
{{- end -}}
{{- include "pod2iam.validatePorts" . -}}
{{- include "pod2iam.validateSidecarResources" . -}}
{{- include "pod2iam.validateAvailability" . -}}
{{- include "pod2iam.validateNames" . -}}
{{- include "pod2iam.validateTests" . -}}
{{- include "pod2iam.validateMetrics" . -}}
{{- include "pod2iam.validateGuard" . -}}
{{- include "pod2iam.validatePools" . -}}
{{- if and $v.injector.tls.existingSecret (not $v.injector.tls.caBundle) (not $v.injector.tls.injectCaFrom) -}}
{{- fail "injector.tls.existingSecret needs injector.tls.caBundle, or injector.tls.injectCaFrom with cert-manager: the API server must know which certificate to trust." -}}
{{- end -}}
{{- if and (not $v.injector.tls.existingSecret) (or $v.injector.tls.caBundle $v.injector.tls.injectCaFrom) -}}
{{- fail "injector.tls.caBundle and injector.tls.injectCaFrom need injector.tls.existingSecret: the built-in certificate authority writes its own bundle." -}}
{{- end -}}
{{- include "pod2iam.validateSecrets" . -}}
{{- if eq (int $v.broker.runAsUser) 65532 -}}
{{- fail "broker.runAsUser=65532 is the injected sidecars' user, too, and the kernel counts some limits by user: choose one that no other pod uses, e.g. 9171." -}}
{{- end -}}
{{- if and $v.injector.startupTaint (ne (include "pod2iam.policies" .) "true") (not $v.injector.startupTaintWithoutPolicy) -}}
{{- fail "injector.startupTaint needs injector.admissionPolicies=true and Kubernetes 1.30 or newer: without its policy the injector could change anything on every node. Leave it empty, or accept that with injector.startupTaintWithoutPolicy=true." -}}
{{- end -}}
{{- end -}}

{{/* The same for firewall and broker, for which a pool of nodes may have its own values. Takes $, or a pool's context. */}}
{{- define "pod2iam.validateGuard" -}}
{{- $v := .Values -}}
{{- $where := "" -}}
{{- with $v.guard.pool }}{{ $where = printf "in the pool %s of guard.pools: " .name }}{{ end -}}
{{- include "pod2iam.validateVolumes" . -}}
{{- if and (eq $v.broker.sessionScope "role") $v.broker.sessionTags -}}
{{- fail (print $where "broker.sessionTags=true needs broker.sessionScope=pod: a session that pods share cannot carry one pod's tags.") -}}
{{- end -}}
{{- if and (eq $v.broker.sessionScope "role") $v.broker.sourceIdentity -}}
{{- fail (print $where "broker.sourceIdentity needs broker.sessionScope=pod: a session that pods share cannot identify one of them.") -}}
{{- end -}}
{{- range $name := list "clusterName" "clusterArn" -}}
{{- if and (get $v.broker $name) (not $v.broker.sessionTags) -}}
{{- fail (printf "%sbroker.%s has no effect without broker.sessionTags=true." $where $name) -}}
{{- end -}}
{{- end -}}
{{- if and $v.broker.clusterArn $v.broker.clusterName (not (hasSuffix (print ":cluster/" $v.broker.clusterName) $v.broker.clusterArn)) -}}
{{- fail (print $where "broker.clusterName is not the name in broker.clusterArn: leave it empty.") -}}
{{- end -}}
{{- include "pod2iam.validateSessionTags" . -}}
{{- include "pod2iam.validateCredentialSources" . -}}
{{- if and $v.broker.assumeRoleArn (gt (int $v.broker.sessionDuration) 3600) (has "node-role" $v.broker.credentialSources) -}}
{{- fail (print $where "broker.sessionDuration must be at most 3600 with broker.assumeRoleArn: AWS limits chained sessions to an hour.") -}}
{{- end -}}
{{- if and (eq $v.guard.mode "audit") (eq $v.guard.backend "iptables") -}}
{{- fail (print $where "guard.mode=audit needs guard.backend auto or nft: iptables cannot count by address.") -}}
{{- end -}}
{{- if and (eq $v.guard.mode "audit") (eq (toString $v.guard.hostNetwork) "block") -}}
{{- fail (print $where "guard.hostNetwork=block needs guard.mode=enforce: in audit mode pods on the host network can only be counted, like all others; use guard.hostNetwork=audit.") -}}
{{- end -}}
{{- if and (eq $v.guard.backend "iptables") $v.guard.ownedTable -}}
{{- fail (print $where "guard.ownedTable=true needs guard.backend auto or nft: iptables has no owned tables.") -}}
{{- end -}}
{{- end -}}
