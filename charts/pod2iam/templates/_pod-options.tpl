{{/*
What an operator may add to the security context of a container: labels and profiles, which confine it further or name it for the node's policy. Nothing else is
taken: user and group of firewall and broker, capabilities, privilege escalation and the read-only root are what the promises rest on. Takes the values.
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

{{/* No rights at all; what the injector, the broker and the helm tests run with. Takes (list user values), the user 0 for one that the cluster chooses. */}}
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

{{/* Of a whole pod: groups of its volumes, labels and profiles. Takes (list defaults values). */}}
{{- define "pod2iam.podSecurityContext" -}}
{{- $taken := pick (index . 1) "fsGroup" "fsGroupChangePolicy" "supplementalGroups" "supplementalGroupsPolicy" "seLinuxOptions" "seLinuxChangePolicy" "seccompProfile" "appArmorProfile" -}}
{{- with mergeOverwrite (deepCopy (index . 0)) $taken -}}
securityContext: {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{/* Volumes and mounts of the operator's, which may not stand where ours do. */}}
{{- define "pod2iam.validateVolumes" -}}
{{- $v := .Values -}}
{{- $volumes := dict "injector.extraVolumes" (list $v.injector.extraVolumes (list "tls")) "guard.extraVolumes" (list $v.guard.extraVolumes (list "state" "api" "xtables-lock" "host-pods" "cgroups")) -}}
{{- range $name, $both := $volumes -}}
{{- range first $both -}}
{{- if has .name (last $both) -}}
{{- fail (printf "%s may not have a volume %s, which is the chart's own: choose another name." $name .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $mounts := dict "injector.extraVolumeMounts" (list $v.injector.extraVolumeMounts $v.injector.extraVolumes) "guard.extraVolumeMounts" (list $v.guard.extraVolumeMounts $v.guard.extraVolumes) "broker.extraVolumeMounts" (list $v.broker.extraVolumeMounts $v.guard.extraVolumes) -}}
{{- range $name, $both := $mounts -}}
{{- $there := list -}}
{{- range last $both }}{{ $there = append $there .name }}{{ end -}}
{{- range $mount := first $both -}}
{{- if not (has $mount.name $there) -}}
{{- fail (printf "%s mounts the volume %s, which is not there: name it in %s.extraVolumes." $name $mount.name (ternary "injector" "guard" (hasPrefix "injector" $name))) -}}
{{- end -}}
{{- $path := clean $mount.mountPath -}}
{{- range $ours := list "/pod2iam" "/nodejs" "/run/pod2iam" "/run/pod2iam-pods" "/sys/fs/cgroup" "/run/xtables.lock" "/etc/pod2iam/tls" "/var/run/secrets/kubernetes.io/serviceaccount" "/run/secrets/kubernetes.io/serviceaccount" -}}
{{- if or (eq $path $ours) (hasPrefix (print $ours "/") $path) (hasPrefix (print (trimSuffix "/" $path) "/") $ours) -}}
{{- fail (printf "%s may not be at %s, where it would hide the chart's own %s: choose another path." $name $mount.mountPath $ours) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
