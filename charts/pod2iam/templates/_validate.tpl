{{/* A quantity of memory in bytes, as a decimal. Takes the quantity, text or number. */}}
{{- define "pod2iam.bytes" -}}
{{- $quantity := toString . -}}
{{- $units := dict "" 1.0 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "Pi" 1125899906842624.0 "Ei" 1152921504606846976.0 -}}
{{- $number := regexFind "^[0-9.]+([eE][0-9]+)?" $quantity -}}
{{- $unit := trimPrefix $number $quantity -}}
{{- mulf ($number | float64) (get $units $unit | default 1.0) -}}
{{- end -}}

{{/* What values say only together. The schema sees each alone; here each refusal is a sentence with its remedy. */}}
{{- define "pod2iam.validate" -}}
{{- $v := .Values -}}
{{- $proof := include "pod2iam.gateProof" . -}}
{{- if and (eq $v.guard.mode "audit") (eq $proof "enforce") -}}
{{- fail "gate.proof=enforce cannot go with guard.mode=audit: nothing is blocked then, so no injected pod would ever start. Leave gate.proof empty." -}}
{{- end -}}
{{- if and (ne $v.guard.mode "audit") (eq $proof "report") -}}
{{- fail (printf "gate.proof=report cannot go with guard.mode=%s: pods would start on nodes whose block is not proven. Leave gate.proof empty, or set guard.mode=audit." $v.guard.mode) -}}
{{- end -}}
{{- if and $v.injector.hostNetwork (has (int $v.injector.securePort) (list 10250 9171 (int $v.broker.healthPort) (int $v.guard.healthPort))) -}}
{{- fail (printf "injector.securePort=%v is taken on every node (10250 by the kubelet, the others by the node guard): choose another one, e.g. 10260." $v.injector.securePort) -}}
{{- end -}}
{{- if eq (int $v.broker.healthPort) (int $v.guard.healthPort) -}}
{{- fail (printf "broker.healthPort and guard.healthPort are both %v: the two share the node's network, so one of them would not start. Choose different ports." $v.broker.healthPort) -}}
{{- end -}}
{{- with dig "limits" "memory" "" ($v.sidecar.resources | default dict) -}}
{{- if lt (include "pod2iam.bytes" . | float64) 33554432.0 -}}
{{- fail (printf "sidecar.resources.limits.memory=%v is too little: the sidecar would be killed at its start. Give it 32Mi or more." .) -}}
{{- end -}}
{{- end -}}
{{- if and $v.injector.tls.existingSecret (not $v.injector.tls.caBundle) (not $v.injector.tls.injectCaFrom) -}}
{{- fail "injector.tls.existingSecret needs injector.tls.caBundle, or injector.tls.injectCaFrom with cert-manager: the API server must know whom to trust." -}}
{{- end -}}
{{- if and (not $v.injector.tls.existingSecret) (or $v.injector.tls.caBundle $v.injector.tls.injectCaFrom) -}}
{{- fail "injector.tls.caBundle and injector.tls.injectCaFrom need injector.tls.existingSecret: the built-in certificate authority writes its own bundle." -}}
{{- end -}}
{{- if and (eq $v.broker.sessionScope "role") $v.broker.sessionTags -}}
{{- fail "broker.sessionTags=true needs broker.sessionScope=pod: a session that pods share cannot carry one pod's tags." -}}
{{- end -}}
{{- if and $v.broker.clusterName (not $v.broker.sessionTags) -}}
{{- fail "broker.clusterName has no effect without broker.sessionTags=true." -}}
{{- end -}}
{{- if and $v.broker.assumeRoleArn (gt (int $v.broker.sessionDuration) 3600) -}}
{{- fail "broker.sessionDuration must be at most 3600 with broker.assumeRoleArn: AWS limits chained sessions to an hour." -}}
{{- end -}}
{{- if and (eq $v.guard.mode "audit") (eq $v.guard.backend "iptables") -}}
{{- fail "guard.mode=audit needs guard.backend auto or nft: iptables cannot count by address." -}}
{{- end -}}
{{- if and (eq $v.guard.backend "iptables") $v.guard.ownedTable -}}
{{- fail "guard.ownedTable=true needs guard.backend auto or nft: iptables knows no owner." -}}
{{- end -}}
{{- if and (empty $v.userNamespaces.pullSecret.dockerConfigJson) $v.userNamespaces.pullSecret.namespaces -}}
{{- fail "userNamespaces.pullSecret.namespaces needs userNamespaces.pullSecret.dockerConfigJson." -}}
{{- end -}}
{{- if and $v.injector.startupTaint (ne (include "pod2iam.policies" .) "true") (not $v.injector.startupTaintWithoutPolicy) -}}
{{- fail "injector.startupTaint needs injector.admissionPolicies=true and Kubernetes 1.30 or newer: without its policy the injector could change anything of every node. Leave it empty, or accept that with injector.startupTaintWithoutPolicy=true." -}}
{{- end -}}
{{- end -}}
