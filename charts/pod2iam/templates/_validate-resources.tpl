{{/* A quantity as a decimal: bytes of memory, cores of CPU. Takes the quantity, text or number. */}}
{{- define "pod2iam.quantity" -}}
{{- $quantity := toString . -}}
{{- $units := dict "" 1.0 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "Pi" 1125899906842624.0 "Ei" 1152921504606846976.0 -}}
{{- $number := regexFind "^[0-9.]+([eE][0-9]+)?" $quantity -}}
{{- $unit := trimPrefix $number $quantity -}}
{{- mulf ($number | float64) (get $units $unit | default 1.0) -}}
{{- end -}}

{{/*
Checks the sidecar's resources, which no API server checks before a pod is injected. Values that are not set have the injector's defaults
(injector/resources/resources.ts); it would end with an error for each of these.
*/}}
{{- define "pod2iam.validateSidecarResources" -}}
{{- $sidecar := .Values.sidecar -}}
{{- $limits := mergeOverwrite (dict "cpu" "500m" "memory" "48Mi") (dig "limits" dict ($sidecar.resources | default dict)) -}}
{{- $requests := mergeOverwrite (dict "cpu" "auto" "memory" "16Mi") (dig "requests" dict ($sidecar.resources | default dict)) -}}
{{- /* The automatic request never exceeds the limit. */ -}}
{{- if eq (toString $requests.cpu) "auto" -}}{{- $_ := set $requests "cpu" 0 -}}{{- end -}}
{{- $most := mergeOverwrite (dict "cpu" "1" "memory" "256Mi") ($sidecar.resourcesMax | default dict) -}}
{{- $least := dict "cpu" "50m" "memory" "32Mi" -}}
{{- $why := dict "cpu" "start so slowly that apps wait for it" "memory" "be killed at its start" -}}
{{- range $name := list "cpu" "memory" -}}
{{- $limit := get $limits $name -}}
{{- if lt (include "pod2iam.quantity" $limit | float64) (include "pod2iam.quantity" (get $least $name) | float64) -}}
{{- fail (printf "sidecar.resources.limits.%s=%v is too low: the sidecar would %s. Set it to %s or more." $name $limit (get $why $name) (get $least $name)) -}}
{{- end -}}
{{- if gt (include "pod2iam.quantity" (get $requests $name) | float64) (include "pod2iam.quantity" $limit | float64) -}}
{{- fail (printf "sidecar.resources.requests.%s=%v is more than its limit of %v: no injected pod would be admitted. Lower the request, or raise sidecar.resources.limits.%s." $name (get $requests $name) $limit $name) -}}
{{- end -}}
{{- if gt (include "pod2iam.quantity" $limit | float64) (include "pod2iam.quantity" (get $most $name) | float64) -}}
{{- fail (printf "the sidecar's limit of %v of %s is more than the %v that sidecar.resourcesMax allows: lower sidecar.resources.limits.%s, or raise sidecar.resourcesMax.%s." $limit $name (get $most $name) $name $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
