{{/* Checks for ports that two of our listeners would share, or that another program uses on every node. */}}
{{- define "pod2iam.validatePorts" -}}
{{- $v := .Values -}}
{{- $injector := $v.injector -}}
{{- if eq (int $injector.securePort) (int $injector.healthPort) -}}
{{- fail (printf "injector.securePort and injector.healthPort are both %v: the injector could not open the second. Choose different ports." $injector.healthPort) -}}
{{- end -}}
{{- range $name, $port := dict "broker.healthPort" $v.broker.healthPort "guard.healthPort" $v.guard.healthPort -}}
{{- if has (int $port) (list 10250 9171) -}}
{{- fail (printf "%s=%v is in use on every node (10250 by the kubelet, 9171 by the broker): choose another one." $name $port) -}}
{{- end -}}
{{- end -}}
{{- if eq (int $v.broker.healthPort) (int $v.guard.healthPort) -}}
{{- fail (printf "broker.healthPort and guard.healthPort are both %v: both use the node's network, so one of them would not start. Choose different ports." $v.broker.healthPort) -}}
{{- end -}}
{{- if $injector.hostNetwork -}}
{{- range $name, $port := dict "injector.securePort" $injector.securePort "injector.healthPort" $injector.healthPort -}}
{{- if has (int $port) (list 10250 9171 (int $v.broker.healthPort) (int $v.guard.healthPort)) -}}
{{- fail (printf "%s=%v is in use on every node (10250 by the kubelet, the others by the node guard): choose another one, e.g. 10260." $name $port) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
