{{/* What would let every replica of the injector go at once: until one is back, pods that ask for a role are refused. */}}
{{- define "pod2iam.validateAvailability" -}}
{{- $injector := .Values.injector -}}
{{- $replicas := int $injector.replicas -}}
{{- $budget := toString $injector.podDisruptionBudget.maxUnavailable -}}
{{- $away := int (trimSuffix "%" $budget) -}}
{{- if hasSuffix "%" $budget }}{{ $away = int (ceil (divf (mulf $away $replicas) 100)) }}{{ end -}}
{{- if and $injector.podDisruptionBudget.enabled (gt $replicas 1) (ge $away $replicas) -}}
{{- fail (printf "injector.podDisruptionBudget.maxUnavailable=%s lets evictions take all %d replicas away at once, and then no pod that asks for a role is admitted: leave at least one." $budget $replicas) -}}
{{- end -}}
{{- end -}}
