{{/*
Node guards with their own values, each on the nodes of a pool. A node belongs to the first pool whose label it has; if it has none, it belongs to the DaemonSet
for all other nodes. The affinities ensure this, so that no node has two guards and none is left out.
*/}}

{{/*
The contexts in which a pool's templates are rendered: like $, but with the pool's values in place of the common ones, and the pool itself as `guard.pool`. Takes
(list $ dictionary); the contexts are put into the dictionary, as `contexts`, because a template can only return text.
*/}}
{{- define "pod2iam.poolContexts" -}}
{{- $ := index . 0 -}}
{{- $contexts := list -}}
{{- range $pool := $.Values.guard.pools -}}
{{- $values := deepCopy $.Values -}}
{{- $own := deepCopy ($pool.guard | default dict) -}}
{{- /* A pool's own value replaces the common one: a mixture of the two would be neither. */ -}}
{{- $place := dict "nodeSelector" ($own.nodeSelector | default (dict "kubernetes.io/os" "linux")) "affinity" ($own.affinity | default dict) -}}
{{- $guard := mergeOverwrite (omit $values.guard "nodeSelector" "affinity") (omit $own "mode" "healthPort" "pools") $place (dict "pool" $pool) -}}
{{- $broker := mergeOverwrite $values.broker (omit (deepCopy ($pool.broker | default dict)) "healthPort" "runAsUser") -}}
{{- $_ := set $values "guard" $guard -}}
{{- $_ := set $values "broker" $broker -}}
{{- $contexts = append $contexts (dict "Values" $values "Chart" $.Chart "Release" $.Release "Capabilities" $.Capabilities "Files" $.Files "Template" $.Template) -}}
{{- end -}}
{{- $_ := set (index . 1) "contexts" $contexts -}}
{{- end -}}

{{/* Name of a DaemonSet. Takes $, or a pool's context. */}}
{{- define "pod2iam.guardName" -}}
{{- include "pod2iam.nodeGuard" . -}}{{- with .Values.guard.pool }}-{{ .name }}{{ end -}}
{{- end -}}

{{/* The value of the label app.kubernetes.io/instance: each pool has its own, so that no DaemonSet's selector matches the pods of another. Takes $, or a pool's context. */}}
{{- define "pod2iam.instance" -}}
{{- .Release.Name -}}{{- with .Values.guard.pool }}-{{ .name }}{{ end -}}
{{- end -}}

{{/* The nodes of a DaemonSet: those that the values select, without the nodes of other pools. Takes $, or a pool's context. */}}
{{- define "pod2iam.guardAffinity" -}}
{{- $guard := .Values.guard -}}
{{- $text := $guard.affinity | empty | ternary (include "pod2iam.onEc2" .) (toYaml $guard.affinity) -}}
{{- $affinity := fromYaml $text -}}
{{- $own := dig "pool" "name" "" $guard -}}
{{- $expressions := list -}}
{{- $reached := false -}}
{{- range $guard.pools -}}
{{- if not $reached -}}
{{- $reached = eq .name $own -}}
{{- $expressions = append $expressions (dict "key" .nodes.label "operator" (ternary "In" "NotIn" $reached) "values" .nodes.values) -}}
{{- end -}}
{{- end -}}
{{- if $expressions -}}
{{- $terms := list -}}
{{- range dig "nodeAffinity" "requiredDuringSchedulingIgnoredDuringExecution" "nodeSelectorTerms" (list dict) $affinity -}}
{{- $terms = append $terms (merge (dict "matchExpressions" (concat (.matchExpressions | default list) $expressions)) .) -}}
{{- end -}}
{{- $required := dict "requiredDuringSchedulingIgnoredDuringExecution" (dict "nodeSelectorTerms" $terms) -}}
{{- $text = merge (dict "nodeAffinity" (merge $required ($affinity.nodeAffinity | default dict))) $affinity | toYaml -}}
{{- end -}}
{{- $text -}}
{{- end -}}

{{/* Refuses invalid pools: pools with the same name or with common nodes, or whose values contradict each other. */}}
{{- define "pod2iam.validatePools" -}}
{{- $names := list -}}
{{- $taken := dict -}}
{{- range $pool := .Values.guard.pools -}}
{{- if has $pool.name $names -}}
{{- fail (printf "guard.pools has two pools called %s: give each its own name." $pool.name) -}}
{{- end -}}
{{- $names = append $names $pool.name -}}
{{- if gt (len (printf "%s-%s" $.Release.Name $pool.name)) 63 -}}
{{- fail (printf "the release's name and the name of the pool %s have more than 62 characters together, which is too long for a label: choose a shorter name." $pool.name) -}}
{{- end -}}
{{- range $value := $pool.nodes.values -}}
{{- $node := printf "%s=%s" $pool.nodes.label $value -}}
{{- with get $taken $node -}}
{{- fail (printf "guard.pools: nodes with %s are in both the pool %s and the pool %s: select them in only one." $node . $pool.name) -}}
{{- end -}}
{{- $_ := set $taken $node $pool.name -}}
{{- end -}}
{{- end -}}
{{- $pools := dict -}}
{{- include "pod2iam.poolContexts" (list . $pools) -}}
{{- range $pools.contexts }}{{ include "pod2iam.validateGuard" . }}{{ end -}}
{{- end -}}
