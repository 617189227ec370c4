{{/* Checks the operator's session tags: none may have a key of EKS Pod Identity's tags, or the prefix that AWS reserves. */}}
{{- define "pod2iam.validateSessionTags" -}}
{{- $ours := list "eks-cluster-arn" "eks-cluster-name" "kubernetes-namespace" "kubernetes-service-account" "kubernetes-pod-name" "kubernetes-pod-uid" -}}
{{- $seen := list -}}
{{- range $key, $_ := .Values.broker.extraSessionTags -}}
{{- if has (lower $key) $seen -}}
{{- fail (printf "broker.extraSessionTags has the key %s twice: upper and lower case are the same to AWS." $key) -}}
{{- end -}}
{{- $seen = append $seen (lower $key) -}}
{{- if has (lower $key) $ours -}}
{{- fail (printf "broker.extraSessionTags must not set %s, which broker.sessionTags sets for each pod: choose another key." $key) -}}
{{- end -}}
{{- if hasPrefix "aws:" (lower $key) -}}
{{- fail (printf "broker.extraSessionTags must not set %s: AWS reserves keys that begin with aws:." $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Checks for settings that cannot be combined with roles by web identity. */}}
{{- define "pod2iam.validateCredentialSources" -}}
{{- $broker := .Values.broker -}}
{{- if has "web-identity" $broker.credentialSources -}}
{{- if eq $broker.sessionScope "role" -}}
{{- fail "broker.credentialSources=[web-identity] needs broker.sessionScope=pod: a session by web identity belongs to one service account." -}}
{{- end -}}
{{- range $name := list "sessionTags" "extraSessionTags" "sourceIdentity" -}}
{{- if and (get $broker $name) (eq (first $broker.credentialSources) "web-identity") -}}
{{- fail (printf "broker.%s needs node-role as the first of broker.credentialSources: AssumeRoleWithWebIdentity accepts neither session tags nor a source identity, so by default every pod would be refused." $name) -}}
{{- end -}}
{{- end -}}
{{- range $name, $audiences := dict "webIdentityAudience" (list $broker.webIdentityAudience) "webIdentityFurtherAudiences" $broker.webIdentityFurtherAudiences -}}
{{- range $audiences -}}
{{- if eq . "pod2iam" -}}
{{- fail (printf "broker.%s=pod2iam is the audience of the sidecar's own token, which could then be used in place of the web identity token: choose another one, e.g. sts.amazonaws.com." $name) -}}
{{- end -}}
{{- /* common/credential-source.ts has the same expression. */ -}}
{{- if or (eq . $broker.issuer) (regexMatch "(?i)^(https?://)?kubernetes(\\.(default|svc)(\\.[a-z0-9.-]+)?)?(:[0-9]+)?/?$" .) -}}
{{- fail (printf "broker.%s=%s is an audience of the API server, which would accept the web identity token as its own: choose one that only AWS knows, e.g. sts.amazonaws.com." $name .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
