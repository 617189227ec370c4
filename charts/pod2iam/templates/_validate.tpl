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
{{- end -}}
