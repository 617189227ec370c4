{{/* A test pod that runs JavaScript in one of our images. Takes a dictionary: root, name, namespace, script, weight, annotations, serviceAccount. */}}
{{- define "pod2iam.testPod" -}}
{{- $ := .root -}}
apiVersion: v1
kind: Pod
metadata:
  name: {{ include "pod2iam.fullname" $ }}-{{ .name }}
  namespace: {{ .namespace }}
  labels: {{- include "pod2iam.labels" (list $ "test") | nindent 4 }}
  annotations:
    helm.sh/hook: test
    helm.sh/hook-weight: {{ .weight | quote }}
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
    {{- with .annotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  restartPolicy: Never
  enableServiceLinks: false
  automountServiceAccountToken: {{ not (empty .serviceAccount) }}
  {{- with .serviceAccount }}
  serviceAccountName: {{ . }}
  {{- end }}
  {{- with include "pod2iam.pullSecrets" $ }}
  {{- . | nindent 2 }}
  {{- end }}
  nodeSelector: {kubernetes.io/os: linux}
  affinity: {{- include "pod2iam.onEc2" $ | nindent 4 }}
  containers:
    - name: test
      image: {{ include "pod2iam.image" (list $ "injector") }}
      imagePullPolicy: {{ $.Values.image.pullPolicy }}
      command: [/nodejs/bin/node, --input-type=module, --eval]
      args:
        - |
          {{- .script | nindent 10 }}
      resources:
        requests: {cpu: 10m, memory: 48Mi}
        limits: {memory: 128Mi}
      securityContext: {{- include "pod2iam.unprivileged" (list (ternary 0 65532 $.Values.openshift.enabled) dict) | nindent 8 }}
      terminationMessagePolicy: FallbackToLogsOnError
{{- end -}}
