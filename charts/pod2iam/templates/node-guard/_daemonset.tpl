{{/* The node guard of all nodes, or of the nodes of one pool (`_pools.tpl`). Takes $, or a pool's context. */}}
{{- define "pod2iam.nodeGuardDaemonSet" -}}
{{- $guard := .Values.guard -}}
{{- $broker := .Values.broker -}}
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: {{ include "pod2iam.guardName" . }}
  namespace: {{ .Release.Namespace }}
  labels: {{- include "pod2iam.labels" (list . "node-guard") | nindent 4 }}
spec:
  selector:
    matchLabels: {{- include "pod2iam.selectorLabels" (list . "node-guard") | nindent 6 }}
  revisionHistoryLimit: {{ $guard.revisionHistoryLimit }}
  updateStrategy:
    {{- /* A removal must reach every node. */}}
    {{- if and (eq ($guard.updateStrategy.type | default "") "OnDelete") (ne $guard.mode "remove") }}
    type: OnDelete
    {{- else }}
    type: RollingUpdate
    # The rules stay in the kernel while the pod is replaced, so an update never removes the block.
    rollingUpdate: {maxSurge: 0, maxUnavailable: {{ dig "rollingUpdate" "maxUnavailable" $guard.maxUnavailable $guard.updateStrategy }}}
    {{- end }}
  template:
    metadata:
      labels: {{- include "pod2iam.podLabels" (list . "node-guard" $guard.podLabels) | nindent 8 }}
      annotations:
        kubectl.kubernetes.io/default-container: {{ eq $guard.mode "remove" | ternary "firewall" "broker" }}
        {{- with $guard.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ include "pod2iam.nodeGuard" . }}
      # Only the broker gets a token, through its own mount.
      automountServiceAccountToken: false
      # Services of this namespace would otherwise set POD2IAM_… variables, which are settings.
      enableServiceLinks: false
      priorityClassName: {{ $guard.priorityClassName | quote }}
      {{- with include "pod2iam.pullSecrets" . }}
      {{- . | nindent 6 }}
      {{- end }}
      hostNetwork: true
      # The node's resolver, because the broker must reach STS even while the cluster's DNS is down.
      dnsPolicy: Default
      {{- with $guard.dnsConfig }}
      dnsConfig: {{- toYaml . | nindent 8 }}
      {{- end }}
      terminationGracePeriodSeconds: 10
      {{- with include "pod2iam.podSecurityContext" (list dict $guard.podSecurityContext) }}
      {{- . | nindent 6 }}
      {{- end }}
      {{- if eq $guard.mode "remove" }}
      # Without the broker, which has no address to listen on any more.
      containers:
        {{- include "pod2iam.firewall" . | nindent 8 }}
      {{- else }}
      initContainers:
        {{- include "pod2iam.firewall" . | nindent 8 }}
        {{- if $guard.prePullSidecarImage }}
        # Prints its version and ends, so that the image is on the node before the first pod needs it.
        - name: pre-pull-sidecar
          image: {{ include "pod2iam.image" (list . "sidecar") }}
          imagePullPolicy: {{ .Values.image.pullPolicy }}
          args: [--version]
          resources:
            requests: {cpu: 1m, memory: 16Mi}
            limits: {memory: 64Mi}
          securityContext: {{- include "pod2iam.unprivileged" (list 65532 (omit $broker.securityContext "runAsUser" "runAsGroup")) | nindent 12 }}
          terminationMessagePolicy: FallbackToLogsOnError
        {{- end }}
      containers:
        - name: broker
          image: {{ include "pod2iam.image" (list . "nodeGuard") }}
          imagePullPolicy: {{ .Values.image.pullPolicy }}
          # The image's entry point is the firewall. The flags save some MiB (node-guard/broker/README.md).
          command: [/nodejs/bin/node, --max-semi-space-size=1, --v8-pool-size=0, /pod2iam/broker.cjs]
          args:
            - --health-port={{ $broker.healthPort }}
            {{- include "pod2iam.policyFlags" . | trim | nindent 12 }}
            {{- with $broker.region }}
            - {{ include "pod2iam.flag" (list "region" .) }}
            {{- end }}
            {{- with $broker.issuer }}
            - {{ include "pod2iam.flag" (list "issuer" .) }}
            {{- end }}
            {{- with $broker.imdsEndpoint }}
            - {{ include "pod2iam.flag" (list "imds-endpoint" .) }}
            {{- end }}
            {{- with include "pod2iam.credentialFlags" . | trim }}
            {{- . | nindent 12 }}
            {{- with $broker.webIdentityFurtherAudiences }}
            - {{ include "pod2iam.flag" (list "web-identity-further-audiences" (join "," .)) }}
            {{- end }}
            {{- end }}
            - --session-duration={{ $broker.sessionDuration }}
            - --session-scope={{ $broker.sessionScope }}
            - --session-tags={{ $broker.sessionTags }}
            {{- with $broker.clusterName }}
            - {{ include "pod2iam.flag" (list "cluster-name" .) }}
            {{- end }}
            {{- with $broker.clusterArn }}
            - {{ include "pod2iam.flag" (list "cluster-arn" .) }}
            {{- end }}
            {{- range $key, $value := $broker.extraSessionTags }}
            - {{ include "pod2iam.flag" (list "extra-session-tags" (printf "%s=%s" $key $value)) }}
            {{- end }}
            {{- with $broker.sourceIdentity }}
            - {{ include "pod2iam.flag" (list "source-identity" .) }}
            {{- end }}
            {{- with $broker.assumeRoleArn }}
            - {{ include "pod2iam.flag" (list "assume-role-arn" .) }}
            {{- end }}
            - --sts-qps={{ $broker.stsQps }}
            - --sts-concurrency={{ $broker.stsConcurrency }}
            {{- with $broker.metadataAllow }}
            - {{ include "pod2iam.flag" (list "metadata-allow" (join "," .)) }}
            {{- end }}
            - --require-firewall={{ $broker.requireFirewall }}
            {{- if include "pod2iam.watchesHostNetwork" . }}
            - --host-pods-dir=/run/pod2iam-pods
            {{- with $guard.hostNetworkAllowed }}
            - {{ include "pod2iam.flag" (list "host-network-allowed" (join "," .)) }}
            {{- end }}
            {{- end }}
            - --log-level={{ $broker.logLevel }}
            {{- with $broker.extraArgs }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          env:
            - {name: POD2IAM_NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
            {{- with $broker.extraEnv }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          ports:
            # hostPort: no other pod on the node may claim the port to which sidecars send their tokens.
            - {name: broker, containerPort: 9171, hostPort: 9171}
            - {name: broker-health, containerPort: {{ $broker.healthPort }}, hostPort: {{ $broker.healthPort }}}
          readinessProbe:
            httpGet: {path: /readyz, port: broker-health}
            periodSeconds: 5
          livenessProbe:
            httpGet: {path: /livez, port: broker-health}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          resources: {{- toYaml $broker.resources | nindent 12 }}
          securityContext: {{- include "pod2iam.unprivileged" (list $broker.runAsUser (omit $broker.securityContext "runAsUser" "runAsGroup")) | nindent 12 }}
          terminationMessagePolicy: FallbackToLogsOnError
          volumeMounts:
            - {name: state, mountPath: /run/pod2iam, readOnly: true}
            {{- if include "pod2iam.watchesHostNetwork" . }}
            - {name: host-pods, mountPath: /run/pod2iam-pods}
            {{- end }}
            - {name: api, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
            {{- with $broker.extraVolumeMounts }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
        {{- if include "pod2iam.watchesHostNetwork" . }}
        {{- include "pod2iam.hostNetwork" . | nindent 8 }}
        {{- end }}
      {{- end }}
      volumes:
        - name: state
          emptyDir: {medium: Memory, sizeLimit: 1Mi}
        {{- if include "pod2iam.watchesHostNetwork" . }}
        # The broker writes here, so it is not the directory of the firewall's report.
        - name: host-pods
          emptyDir: {medium: Memory, sizeLimit: 2Mi}
        - name: cgroups
          hostPath: {path: /sys/fs/cgroup, type: Directory}
        {{- end }}
        {{- if ne $guard.mode "remove" }}
        - name: api
          projected:
            sources:
              - serviceAccountToken: {path: token, expirationSeconds: 3600}
              - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
        {{- end }}
        {{- if or (ne $guard.backend "nft") (eq $guard.mode "remove") }}
        # iptables-legacy takes this lock before it writes, as do all other programs on this node.
        - name: xtables-lock
          hostPath: {path: /run/xtables.lock, type: FileOrCreate}
        {{- end }}
        {{- with $guard.extraVolumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      nodeSelector: {{- toYaml $guard.nodeSelector | nindent 8 }}
      {{- with $guard.tolerations }}
      tolerations: {{- toYaml . | nindent 8 }}
      {{- end }}
      affinity: {{- include "pod2iam.guardAffinity" . | nindent 8 }}
{{- end -}}
