{{/* First part of every name. */}}
{{- define "pod2iam.fullname" -}}
{{- .Values.fullnameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "pod2iam.injector" -}}{{ include "pod2iam.fullname" . }}-injector{{- end -}}
{{- define "pod2iam.nodeGuard" -}}{{ include "pod2iam.fullname" . }}-node-guard{{- end -}}

{{/* Name of both webhook configurations; see values.yaml about its order. */}}
{{- define "pod2iam.webhookConfiguration" -}}
{{- .Values.injector.webhookConfigurationName | default (include "pod2iam.injector" .) -}}
{{- end -}}

{{/* The labels of a selector, which cannot be changed later. Takes (list $ "component"). */}}
{{- define "pod2iam.selectorLabels" -}}
app.kubernetes.io/name: {{ (index . 0).Chart.Name }}
app.kubernetes.io/instance: {{ include "pod2iam.instance" (index . 0) }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* The injector's selector labels as a label selector, by which its replicas find each other. */}}
{{- define "pod2iam.injectorSelector" -}}
{{- $labels := include "pod2iam.selectorLabels" (list . "injector") | fromYaml -}}
{{- $pairs := list -}}
{{- range $key, $value := $labels }}{{ $pairs = append $pairs (printf "%s=%s" $key $value) }}{{ end -}}
{{- join "," $pairs -}}
{{- end -}}

{{/* Takes (list $ "component"). */}}
{{- define "pod2iam.labels" -}}
{{- $ := index . 0 -}}
{{ include "pod2iam.selectorLabels" . }}
app.kubernetes.io/version: {{ $.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $.Chart.Name ($.Chart.Version | replace "+" "_") }}
{{- with $.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels of a component's pods. Takes (list $ "component" labels). There is no version label, because a new version alone must not restart anything. */}}
{{- define "pod2iam.podLabels" -}}
{{- $ := index . 0 -}}
{{- $selector := include "pod2iam.selectorLabels" . | fromYaml -}}
{{- toYaml (mergeOverwrite (deepCopy $.Values.commonLabels) (deepCopy (index . 2)) $selector) -}}
{{- end -}}

{{/* An image's reference. Takes (list $ "sidecar|injector|nodeGuard"). */}}
{{- define "pod2iam.image" -}}
{{- $ := index . 0 -}}
{{- $image := index $.Values.image (index . 1) -}}
{{- $name := printf "%s/%s" ($.Values.global.imageRegistry | default $.Values.image.registry) $image.repository -}}
{{- if and $image.digest (not $image.tag) -}}
{{ $name }}@{{ $image.digest }}
{{- else if $image.digest -}}
{{ $name }}:{{ $image.tag }}@{{ $image.digest }}
{{- else -}}
{{ $name }}:{{ $image.tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* Of pods in the release's namespace, where the Secrets are. */}}
{{- define "pod2iam.pullSecrets" -}}
{{- $names := .Values.image.pullSecrets -}}
{{- range .Values.global.imagePullSecrets -}}
{{- $names = append $names (kindIs "string" . | ternary . (get (kindIs "string" . | ternary (dict) .) "name")) -}}
{{- end -}}
{{- with uniq $names -}}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Fargate and hybrid nodes have no instance metadata; a DaemonSet's pod would stay pending there forever. */}}
{{- define "pod2iam.onEc2" -}}
nodeAffinity:
  requiredDuringSchedulingIgnoredDuringExecution:
    nodeSelectorTerms:
      - matchExpressions:
          - key: eks.amazonaws.com/compute-type
            operator: NotIn
            values: [fargate, hybrid]
{{- end -}}

{{/* enforce or report: what the gate does with the result of its proof. */}}
{{- define "pod2iam.gateProof" -}}
{{- .Values.gate.proof | default (ternary "report" "enforce" (eq .Values.guard.mode "audit")) -}}
{{- end -}}

{{/* "true" if the policies for Cilium are installed. A Cilium that has CiliumCIDRGroup v2 also supports enableDefaultDeny (1.16). */}}
{{- define "pod2iam.cilium" -}}
{{- $has := .Capabilities.APIVersions -}}
{{- $new := and ($has.Has "cilium.io/v2/CiliumClusterwideNetworkPolicy") ($has.Has "cilium.io/v2/CiliumCIDRGroup") -}}
{{- if eq (toString .Values.cilium.enabled) "auto" }}{{ $new }}{{ else }}{{ .Values.cilium.enabled }}{{ end -}}
{{- end -}}

{{/* on or off, even if YAML 1.1 has turned it into a boolean. */}}
{{- define "pod2iam.onOff" -}}
{{- get (dict "true" "on" "false" "off") (toString .) | default (toString .) -}}
{{- end -}}

{{/* "true" if ValidatingAdmissionPolicies are installed as well. */}}
{{- define "pod2iam.policies" -}}
{{- and .Values.injector.admissionPolicies (semverCompare ">=1.30-0" .Capabilities.KubeVersion.Version) -}}
{{- end -}}

{{/* A flag as an element of a YAML list, quoted for any characters in its value. Takes (list "name" value). */}}
{{- define "pod2iam.flag" -}}
{{- printf "--%s=%v" (index . 0) (index . 1) | toJson -}}
{{- end -}}

{{/* The flags for the credential sources, for injector and broker; nothing if the node's role is the only one. */}}
{{- define "pod2iam.credentialFlags" -}}
{{- with .Values.broker }}
{{- if has "web-identity" .credentialSources }}
- --credential-sources={{ join "," .credentialSources }}
- {{ include "pod2iam.flag" (list "web-identity-audience" .webIdentityAudience) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The flags that injector and broker share, because both must apply the same policy. */}}
{{- define "pod2iam.policyFlags" -}}
{{- with .Values.policy }}
- {{ include "pod2iam.flag" (list "role-key" .roleKey) }}
{{- if .serviceAccountRoles }}
- --service-account-roles=true
{{- end }}
- --namespace-restrictions={{ .namespaceRestrictions }}
- --namespace-restriction-format={{ .namespaceRestrictionFormat }}
{{- with .baseRoleArn }}
- {{ include "pod2iam.flag" (list "base-role-arn" .) }}
{{- end }}
{{- with .defaultRole }}
- {{ include "pod2iam.flag" (list "default-role" .) }}
{{- end }}
{{- with .permittedRoles }}
- {{ include "pod2iam.flag" (list "permitted-roles" (join "," .)) }}
{{- end }}
{{- end }}
{{- end -}}
