{{/* Whether the guard counts or blocks pods on the host network: "true" or nothing. Takes $, or a pool's context. */}}
{{- define "pod2iam.watchesHostNetwork" -}}
{{- if and (ne (include "pod2iam.onOff" .Values.guard.hostNetwork) "off") (ne .Values.guard.mode "remove") }}true{{ end -}}
{{- end -}}

{{/* The container that maintains the rules about pods on the host network. If it fails, firewall and broker still start. Takes $, or a pool's context. */}}
{{- define "pod2iam.hostNetwork" -}}
{{- $guard := .Values.guard -}}
{{- $capabilities := eq $guard.backend "iptables" | ternary "+net_admin,+net_raw" "+net_admin" -}}
- name: host-network
  image: {{ include "pod2iam.image" (list . "nodeGuard") }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  # Container runtimes give the node's cgroup namespace only to privileged containers. Before our program starts, setpriv drops
  # everything else: the program runs without root, with NET_ADMIN alone, and with iptables-legacy also NET_RAW.
  command:
    - /usr/sbin/setpriv
    - --reuid=9174
    - --regid=9174
    - --clear-groups
    - --bounding-set=-all,{{ $capabilities }}
    - --inh-caps=-all,{{ $capabilities }}
    - --ambient-caps=-all,{{ $capabilities }}
    - --no-new-privs
    - --
    - /nodejs/bin/node
    - /pod2iam/firewall.cjs
  args:
    - host-network
    - --mode={{ $guard.hostNetwork }}
    - --backend={{ $guard.backend }}
    - --poll-interval={{ $guard.pollInterval }}
    - --log-level={{ $guard.logLevel }}
    {{- range $guard.extraArgs }}
    {{- if regexMatch "^--(metadata|broker)-address=" . }}
    - {{ . | quote }}
    {{- end }}
    {{- end }}
  {{- $env := list }}
  {{- range $guard.extraEnv }}
  {{- if has .name (list "POD2IAM_METADATA_ADDRESS" "POD2IAM_BROKER_ADDRESS") }}{{ $env = append $env . }}{{ end }}
  {{- end }}
  {{- with $env }}
  env: {{- toYaml . | nindent 4 }}
  {{- end }}
  resources: {{- toYaml $guard.resources | nindent 4 }}
  securityContext:
    privileged: true
    runAsUser: 0
    runAsGroup: 0
    # `privileged` allows no other value.
    allowPrivilegeEscalation: true
    readOnlyRootFilesystem: true
    {{- include "pod2iam.securityOptions" $guard.securityContext | nindent 4 }}
  terminationMessagePolicy: FallbackToLogsOnError
  volumeMounts:
    - {name: state, mountPath: /run/pod2iam}
    - {name: host-pods, mountPath: /run/pod2iam-pods, readOnly: true}
    # The ids of cgroups are looked up there.
    - {name: cgroups, mountPath: /sys/fs/cgroup, readOnly: true}
{{- end -}}
