{{/* Session tags of the operator: none may say what those of EKS Pod Identity say, and AWS keeps a prefix for itself. */}}
{{- define "pod2iam.validateSessionTags" -}}
{{- $ours := list "eks-cluster-arn" "eks-cluster-name" "kubernetes-namespace" "kubernetes-service-account" "kubernetes-pod-name" "kubernetes-pod-uid" -}}
{{- $seen := list -}}
{{- range $key, $_ := .Values.broker.extraSessionTags -}}
{{- if has (lower $key) $seen -}}
{{- fail (printf "broker.extraSessionTags has the key %s twice: upper and lower case are the same to AWS." $key) -}}
{{- end -}}
{{- $seen = append $seen (lower $key) -}}
{{- if has (lower $key) $ours -}}
{{- fail (printf "broker.extraSessionTags may not set %s, which broker.sessionTags says of each pod: choose another key." $key) -}}
{{- end -}}
{{- if hasPrefix "aws:" (lower $key) -}}
{{- fail (printf "broker.extraSessionTags may not set %s: AWS reserves keys that begin with aws:." $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What cannot go with roles by web identity. */}}
{{- define "pod2iam.validateCredentialSources" -}}
{{- $broker := .Values.broker -}}
{{- if has "web-identity" $broker.credentialSources -}}
{{- if eq $broker.sessionScope "role" -}}
{{- fail "broker.credentialSources=[web-identity] needs broker.sessionScope=pod: a session by web identity is that of one service account." -}}
{{- end -}}
{{- range $name := list "sessionTags" "extraSessionTags" "sourceIdentity" -}}
{{- if and (get $broker $name) (eq (first $broker.credentialSources) "web-identity") -}}
{{- fail (printf "broker.%s needs node-role as the first of broker.credentialSources: AssumeRoleWithWebIdentity has neither session tags nor a source identity of ours, so every pod by default would be refused." $name) -}}
{{- end -}}
{{- end -}}
{{- if eq $broker.webIdentityAudience "pod2iam" -}}
{{- fail "broker.webIdentityAudience=pod2iam is the audience of the sidecar's own token, which would then do in the place of the other: choose another one, e.g. sts.amazonaws.com." -}}
{{- end -}}
{{- end -}}
{{- end -}}
