{{/* Checks for values with which all replicas of the injector could stop at once: until one is back, pods that ask for a role are refused. */}}
{{- define "pod2iam.validateAvailability" -}}
{{- $injector := .Values.injector -}}
{{- $replicas := int $injector.replicas -}}
{{- $budget := toString $injector.podDisruptionBudget.maxUnavailable -}}
{{- $away := int (trimSuffix "%" $budget) -}}
{{- if hasSuffix "%" $budget }}{{ $away = int (ceil (divf (mulf $away $replicas) 100)) }}{{ end -}}
{{- if and $injector.podDisruptionBudget.enabled (gt $replicas 1) (ge $away $replicas) -}}
{{- fail (printf "injector.podDisruptionBudget.maxUnavailable=%s lets all %d replicas be evicted at once, and then no pod that asks for a role is admitted: keep at least one." $budget $replicas) -}}
{{- end -}}
{{- with $injector.updateStrategy.rollingUpdate -}}
{{- $gone := toString (.maxUnavailable | default 0) -}}
{{- $less := int (trimSuffix "%" $gone) -}}
{{- if hasSuffix "%" $gone }}{{ $less = int (floor (divf (mulf $less $replicas) 100)) }}{{ end -}}
{{- if and (gt $replicas 1) (ge $less $replicas) -}}
{{- fail (printf "injector.updateStrategy.rollingUpdate.maxUnavailable=%s lets an upgrade stop all %d replicas at once, and then no pod that asks for a role is admitted: keep at least one." $gone $replicas) -}}
{{- end -}}
{{- if and (eq $less 0) (has (toString (.maxSurge | default 0)) (list "0" "0%")) -}}
{{- fail "injector.updateStrategy.rollingUpdate has neither maxSurge nor maxUnavailable above 0, so no replica could ever be replaced: set maxSurge to 1." -}}
{{- end -}}
{{- end -}}
{{- end -}}
