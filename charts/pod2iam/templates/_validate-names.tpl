{{/* Checks for labels, keys and namespaces that already have a meaning. */}}
{{- define "pod2iam.validateNames" -}}
{{- $v := .Values -}}
{{- $ours := list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" "app.kubernetes.io/version" "app.kubernetes.io/managed-by" "helm.sh/chart" -}}
{{- range $name, $labels := dict "commonLabels" $v.commonLabels "injector.podLabels" $v.injector.podLabels "guard.podLabels" $v.guard.podLabels -}}
{{- range $key, $_ := $labels -}}
{{- if has $key $ours -}}
{{- fail (printf "%s must not set %s, by which the chart's own objects find each other: choose another key." $name $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $taken := list "iam.amazonaws.com/allowed-roles" "iam.amazonaws.com/permitted" "iam.amazonaws.com/default-role" "iam.amazonaws.com/external-id" "iam.amazonaws.com/session-name" "iam.amazonaws.com/session-policy-arns" -}}
{{- if or (has $v.policy.roleKey $taken) (hasPrefix "pod2iam.dev/" $v.policy.roleKey) -}}
{{- fail (printf "policy.roleKey=%s already has another meaning: choose a key of your own, e.g. example.com/role, or leave iam.amazonaws.com/role." $v.policy.roleKey) -}}
{{- end -}}
{{- if or (has $v.policy.serviceAccountRoleKey $taken) (hasPrefix "pod2iam.dev/" $v.policy.serviceAccountRoleKey) -}}
{{- fail (printf "policy.serviceAccountRoleKey=%s already has another meaning: choose a key of your own, e.g. example.com/role, or leave eks.amazonaws.com/role-arn." $v.policy.serviceAccountRoleKey) -}}
{{- end -}}
{{- if and $v.injector.allowKubeSystem (has "kube-system" $v.injector.excludeNamespaces) -}}
{{- fail "injector.allowKubeSystem=true contradicts kube-system in injector.excludeNamespaces: remove one of them." -}}
{{- end -}}
{{- end -}}

{{/* Checks the namespace of `helm test`: it must be one for users' pods, which our webhooks handle. */}}
{{- define "pod2iam.validateTests" -}}
{{- $tests := .Values.tests -}}
{{- if and $tests.enabled $tests.role (not $tests.namespace) -}}
{{- fail (printf "tests.role needs tests.namespace, a namespace of yours that is opted in (pod2iam.dev/injection=enabled) and may use the role, because the chart creates none:\n  kubectl create namespace pod2iam-test\n  kubectl label namespace pod2iam-test pod2iam.dev/injection=enabled\n  kubectl annotate namespace pod2iam-test iam.amazonaws.com/allowed-roles='[%q]'" $tests.role) -}}
{{- end -}}
{{- if and $tests.enabled $tests.namespace (has $tests.namespace (splitList "," (include "pod2iam.untouchedNamespaces" .))) -}}
{{- fail (printf "tests.namespace=%s is a namespace that the injector ignores regardless of its labels, so an annotated pod there proves nothing: name a namespace with users' pods that is opted in." $tests.namespace) -}}
{{- end -}}
{{- end -}}

{{/* Validates the values by which users' pods pull their images and by which the API server trusts the webhook. */}}
{{- define "pod2iam.validateSecrets" -}}
{{- $v := .Values -}}
{{- $secret := $v.userNamespaces.pullSecret -}}
{{- if and (empty $secret.dockerConfigJson) $secret.namespaces -}}
{{- fail "userNamespaces.pullSecret.namespaces needs userNamespaces.pullSecret.dockerConfigJson." -}}
{{- end -}}
{{- if and $secret.dockerConfigJson (empty $secret.namespaces) -}}
{{- fail "userNamespaces.pullSecret.dockerConfigJson has no effect without userNamespaces.pullSecret.namespaces: name the namespaces in which the Secret is needed." -}}
{{- end -}}
{{- with $secret.dockerConfigJson -}}
{{- if not (hasKey (fromJson .) "auths") -}}
{{- fail "userNamespaces.pullSecret.dockerConfigJson is not a Docker configuration: it must be JSON of the form {\"auths\": {\"registry.example\": {\"auth\": \"…\"}}}." -}}
{{- end -}}
{{- end -}}
{{- with $v.injector.tls.caBundle -}}
{{- if not (contains "-----BEGIN CERTIFICATE-----" (b64dec .)) -}}
{{- fail "injector.tls.caBundle is not a Base64-encoded PEM bundle, so the API server could not trust the injector: set it to what `base64 -w0 ca.crt` prints." -}}
{{- end -}}
{{- end -}}
{{- end -}}
