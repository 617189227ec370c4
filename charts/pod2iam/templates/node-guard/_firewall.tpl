{{/* The firewall: a native sidecar next to the broker, or the only container if there is no broker. Takes $. */}}
{{- define "pod2iam.firewall" -}}
{{- $guard := .Values.guard -}}
- name: firewall
  image: {{ include "pod2iam.image" (list . "nodeGuard") }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  {{- if ne $guard.mode "remove" }}
  # A native sidecar, because it must run before anything else is pulled or started.
  restartPolicy: Always
  {{- end }}
  args:
    - guard
    - --mode={{ $guard.mode }}
    - --backend={{ $guard.backend }}
    - --owned-table={{ $guard.ownedTable }}
    - --dataplane={{ $guard.dataplane | default (eq (include "pod2iam.cilium" .) "true" | ternary "netfilter" "auto") }}
    - --poll-interval={{ $guard.pollInterval }}
    - --health-port={{ $guard.healthPort }}
    - --log-level={{ $guard.logLevel }}
    {{- if include "pod2iam.watchesHostNetwork" . }}
    - --host-network={{ $guard.hostNetwork }}
    {{- end }}
    {{- with $guard.extraArgs }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $guard.extraEnv }}
  env: {{- toYaml . | nindent 4 }}
  {{- end }}
  ports:
    - {name: firewall-health, containerPort: {{ $guard.healthPort }}, hostPort: {{ $guard.healthPort }}}
  readinessProbe:
    httpGet: {path: /readyz, port: firewall-health}
    periodSeconds: 5
  livenessProbe:
    httpGet: {path: /livez, port: firewall-health}
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 6
  resources: {{- toYaml $guard.resources | nindent 4 }}
  securityContext:
    # nft and ip require root; file capabilities have no effect with allowPrivilegeEscalation: false.
    runAsUser: 0
    runAsGroup: 0
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities:
      drop: [ALL]
      # NET_ADMIN: netfilter rules and the broker's interface. NET_RAW: iptables-legacy talks to the kernel through a raw socket.
      add: {{ or (eq $guard.backend "iptables") (eq $guard.mode "remove") | ternary "[NET_ADMIN, NET_RAW]" "[NET_ADMIN]" }}
    {{- include "pod2iam.securityOptions" $guard.securityContext | nindent 4 }}
  terminationMessagePolicy: FallbackToLogsOnError
  volumeMounts:
    - {name: state, mountPath: /run/pod2iam}
    {{- if or (ne $guard.backend "nft") (eq $guard.mode "remove") }}
    - {name: xtables-lock, mountPath: /run/xtables.lock}
    {{- end }}
    {{- with $guard.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
