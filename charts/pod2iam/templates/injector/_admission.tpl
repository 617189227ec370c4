{{/* Namespaces that no webhook handles, comma-separated: for the warning that their annotated pods get. */}}
{{- define "pod2iam.untouchedNamespaces" -}}
{{- $never := concat (list "kube-node-lease" .Release.Namespace) .Values.injector.excludeNamespaces -}}
{{- if not .Values.injector.allowKubeSystem }}{{ $never = prepend $never "kube-system" }}{{ end -}}
{{- $never | uniq | sortAlpha | join "," -}}
{{- end -}}

{{/*
The namespaces of a webhook entry or a policy: a dictionary with `everywhere`, and `kubeSystem` if kube-system is
injected. A selector cannot express "enabled or all, but in kube-system only enabled", so kube-system has an entry of its own.
Takes (list $ namespaceSelector).
*/}}
{{- define "pod2iam.namespaceSelectors" -}}
{{- $ := index . 0 -}}
{{- $expressions := list -}}
{{- $labels := list -}}
{{- range (index . 1 | default dict).matchExpressions -}}
{{- if eq .key "pod2iam.dev/injection" }}{{ $labels = .values }}{{ end -}}
{{- if ne .key "kubernetes.io/metadata.name" }}{{ $expressions = append $expressions . }}{{ end -}}
{{- end -}}
{{- $never := concat (list "kube-system" "kube-node-lease" $.Release.Namespace) $.Values.injector.excludeNamespaces | uniq | sortAlpha -}}
{{- $names := dict "key" "kubernetes.io/metadata.name" "operator" "NotIn" "values" $never -}}
{{- $result := dict "everywhere" (dict "matchExpressions" (append $expressions $names)) -}}
{{- if and $.Values.injector.allowKubeSystem (has "enabled" $labels) -}}
{{- $enabled := dict "key" "pod2iam.dev/injection" "operator" "In" "values" (list "enabled") -}}
{{- $kubeSystem := dict "key" "kubernetes.io/metadata.name" "operator" "In" "values" (list "kube-system") -}}
{{- $_ := set $result "kubeSystem" (dict "matchExpressions" (list $enabled $kubeSystem)) -}}
{{- end -}}
{{- toYaml $result -}}
{{- end -}}

{{/* The same for a policy; a policy on cluster-wide objects has no namespace selector. Takes (list $ policy). */}}
{{- define "pod2iam.policySelectors" -}}
{{- $constraints := (index . 1).spec.matchConstraints -}}
{{- if eq ((first $constraints.resourceRules).scope | default "*") "Cluster" -}}
everywhere: {}
{{- else -}}
{{ include "pod2iam.namespaceSelectors" (list (index . 0) $constraints.namespaceSelector) }}
{{- end -}}
{{- end -}}

{{/* A policy's name in this release. Takes (list $ name). */}}
{{- define "pod2iam.renamed" -}}
{{- printf "%s-%s" (include "pod2iam.fullname" (index . 0)) (trimPrefix "pod2iam-" (index . 1)) -}}
{{- end -}}

{{/* A webhook configuration of files/ with this release's service, namespaces and trust. Takes (list $ object). */}}
{{- define "pod2iam.webhookObject" -}}
{{- $ := index . 0 -}}
{{- $object := index . 1 -}}
{{- $tls := $.Values.injector.tls -}}
{{- $entries := list -}}
{{- $byAccount := $.Values.policy.serviceAccountRoles -}}
{{- $webhooks := list -}}
{{- $every := "" -}}
{{- range $object.webhooks -}}
{{- if or $byAccount (not (hasPrefix "service-account-warnings" .name)) }}{{ $webhooks = append $webhooks . }}{{ end -}}
{{- range .matchConditions }}{{ if eq .name "not-opted-out-or-reserved-name" }}{{ $every = . }}{{ end }}{{ end -}}
{{- end -}}
{{- range $entry := $webhooks -}}
{{- /* A matchCondition cannot read a service account, so every pod that is not opted out is sent to the webhook. */ -}}
{{- if and $byAccount $entry.matchConditions (eq (first $entry.matchConditions).name "asks-or-reserved-name") -}}
{{- $_ := set $entry "matchConditions" (list (deepCopy $every)) -}}
{{- end -}}
{{- $service := $entry.clientConfig.service -}}
{{- $_ := set $service "name" (include "pod2iam.injector" $) -}}
{{- $_ := set $service "namespace" $.Release.Namespace -}}
{{- if $tls.caBundle }}{{ $_ := set $entry.clientConfig "caBundle" $tls.caBundle }}{{ end -}}
{{- $selectors := include "pod2iam.namespaceSelectors" (list $ $entry.namespaceSelector) | fromYaml -}}
{{- $_ := set $entry "namespaceSelector" $selectors.everywhere -}}
{{- $entries = append $entries $entry -}}
{{- with $selectors.kubeSystem -}}
{{- $entries = append $entries (merge (dict "name" (printf "kube-system.%s" $entry.name) "namespaceSelector" .) (deepCopy $entry)) -}}
{{- end -}}
{{- end -}}
{{- $_ := set $object "webhooks" $entries -}}
{{- $_ := set $object.metadata "name" (include "pod2iam.webhookConfiguration" $) -}}
{{- with $tls.injectCaFrom -}}
{{- $_ := set $object.metadata "annotations" (dict "cert-manager.io/inject-ca-from" .) -}}
{{- end -}}
---
{{ toYaml $object }}
{{ end -}}

{{/* A policy or binding of files/, and a second one for kube-system if it is injected. Takes (list $ object selectors). */}}
{{- define "pod2iam.policyObject" -}}
{{- $ := index . 0 -}}
{{- $object := index . 1 -}}
{{- $selectors := index . 2 -}}
{{- range $place, $selector := $selectors -}}
{{- $copy := deepCopy $object -}}
{{- $suffix := ternary "-kube-system" "" (eq $place "kubeSystem") -}}
{{- $_ := set $copy.metadata "name" (print (include "pod2iam.renamed" (list $ $object.metadata.name)) $suffix) -}}
{{- if eq $object.kind "ValidatingAdmissionPolicy" -}}
{{- if $selector }}{{ $_ := set $copy.spec.matchConstraints "namespaceSelector" $selector }}{{ end -}}
{{- range $copy.spec.variables -}}
{{- if eq .name "serviceAccountRoles" }}{{ $_ := set . "expression" (toString $.Values.policy.serviceAccountRoles) }}{{ end -}}
{{- if eq .name "hostNetworkAnnotated" }}{{ $_ := set . "expression" (squote $.Values.injector.hostNetworkAnnotated) }}{{ end -}}
{{- end -}}
{{- else -}}
{{- $_ := set $copy.spec "policyName" (print (include "pod2iam.renamed" (list $ $object.spec.policyName)) $suffix) -}}
{{- end -}}
---
{{ toYaml $copy }}
{{ end -}}
{{- end -}}
