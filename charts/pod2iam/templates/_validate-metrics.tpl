{{/* Checks the names of alerts, because an alert whose name is misspelt would continue to fire. */}}
{{- define "pod2iam.validateMetrics" -}}
{{- $rule := .Values.metrics.prometheusRule -}}
{{- $known := list -}}
{{- range (.Files.Get "files/prometheus/alerts.yaml" | fromYaml).groups }}{{ range .rules }}{{ $known = append $known .alert }}{{ end }}{{ end -}}
{{- range $name, $alerts := dict "disabled" $rule.disabled "severities" (keys $rule.severities) -}}
{{- range $alerts -}}
{{- if not (has . $known) -}}
{{- fail (printf "metrics.prometheusRule.%s names %s, which is not an alert of this chart: docs/alerts.md lists them all." $name .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
