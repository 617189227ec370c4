{{/* What cannot go with roles by web identity. */}}
{{- define "pod2iam.validateCredentialSources" -}}
{{- $broker := .Values.broker -}}
{{- if has "web-identity" $broker.credentialSources -}}
{{- if eq $broker.sessionScope "role" -}}
{{- fail "broker.credentialSources=[web-identity] needs broker.sessionScope=pod: a session by web identity is that of one service account." -}}
{{- end -}}
{{- if and $broker.sessionTags (eq (first $broker.credentialSources) "web-identity") -}}
{{- fail "broker.sessionTags=true needs node-role as the first of broker.credentialSources: AssumeRoleWithWebIdentity has no session tags of ours, so every pod by default would be refused." -}}
{{- end -}}
{{- if eq $broker.webIdentityAudience "pod2iam" -}}
{{- fail "broker.webIdentityAudience=pod2iam is the audience of the sidecar's own token, which would then do in the place of the other: choose another one, e.g. sts.amazonaws.com." -}}
{{- end -}}
{{- end -}}
{{- end -}}
