{{/*
What an operator may add to the security context of a container: labels and profiles, which confine it further or identify it for the node's policy. Nothing else is
accepted, because the security of pod2iam depends on user and group of firewall and broker, capabilities, privilege escalation and the read-only root. Takes the values.
*/}}
{{- define "pod2iam.securityOptions" -}}
{{- with .seccompProfile -}}
seccompProfile: {{- toYaml . | nindent 2 }}
{{- else -}}
seccompProfile: {type: RuntimeDefault}
{{- end }}
{{- with pick . "seLinuxOptions" "appArmorProfile" }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The security context without any privileges, with which the injector, the broker and the helm tests run. Takes (list user values); with user 0 the cluster chooses the user. */}}
{{- define "pod2iam.unprivileged" -}}
{{- $options := index . 1 -}}
{{- $user := $options.runAsUser | default (index . 0) -}}
{{- if $user -}}
runAsUser: {{ int64 $user }}
runAsGroup: {{ int64 ($options.runAsGroup | default $user) }}
{{ end -}}
runAsNonRoot: true
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{ include "pod2iam.securityOptions" $options }}
{{- end -}}

{{/* The security context of a whole pod: groups of its volumes, labels and profiles. Takes (list defaults values). */}}
{{- define "pod2iam.podSecurityContext" -}}
{{- $taken := pick (index . 1) "fsGroup" "fsGroupChangePolicy" "supplementalGroups" "supplementalGroupsPolicy" "seLinuxOptions" "seLinuxChangePolicy" "seccompProfile" "appArmorProfile" -}}
{{- with mergeOverwrite (deepCopy (index . 0)) $taken -}}
securityContext: {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{/* Checks the operator's volumes and mounts, which must not be in the place of ours. */}}
{{- define "pod2iam.validateVolumes" -}}
{{- $v := .Values -}}
{{- $volumes := dict "injector.extraVolumes" (list $v.injector.extraVolumes (list "tls")) "guard.extraVolumes" (list $v.guard.extraVolumes (list "state" "api" "xtables-lock" "host-pods" "cgroups")) -}}
{{- range $name, $both := $volumes -}}
{{- range first $both -}}
{{- if has .name (last $both) -}}
{{- fail (printf "%s must not have a volume %s, because the chart has one with this name: choose another name." $name .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $mounts := dict "injector.extraVolumeMounts" (list $v.injector.extraVolumeMounts $v.injector.extraVolumes) "guard.extraVolumeMounts" (list $v.guard.extraVolumeMounts $v.guard.extraVolumes) "broker.extraVolumeMounts" (list $v.broker.extraVolumeMounts $v.guard.extraVolumes) -}}
{{- range $name, $both := $mounts -}}
{{- $there := list -}}
{{- range last $both }}{{ $there = append $there .name }}{{ end -}}
{{- range $mount := first $both -}}
{{- if not (has $mount.name $there) -}}
{{- fail (printf "%s mounts the volume %s, which does not exist: add it to %s.extraVolumes." $name $mount.name (ternary "injector" "guard" (hasPrefix "injector" $name))) -}}
{{- end -}}
{{- $path := clean $mount.mountPath -}}
{{- range $ours := list "/pod2iam" "/nodejs" "/run/pod2iam" "/run/pod2iam-pods" "/sys/fs/cgroup" "/run/xtables.lock" "/etc/pod2iam/tls" "/var/run/secrets/kubernetes.io/serviceaccount" "/run/secrets/kubernetes.io/serviceaccount" -}}
{{- if or (eq $path $ours) (hasPrefix (print $ours "/") $path) (hasPrefix (print (trimSuffix "/" $path) "/") $ours) -}}
{{- fail (printf "%s must not be at %s, where it would hide the chart's own %s: choose another path." $name $mount.mountPath $ours) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
