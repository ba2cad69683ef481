{{/* Name of every object: the release's, with the chart's if it is not in it. */}}
{{- define "synctarget-controller.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What selects the Pods of this release. */}}
{{- define "synctarget-controller.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "synctarget-controller.labels" -}}
{{ include "synctarget-controller.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "synctarget-controller.image" -}}
{{ .image.repository }}:{{ default .default .image.tag }}
{{- end -}}

{{/* Name of the Lease by which the replicas elect a leader. It follows from the slice that they serve. */}}
{{- define "synctarget-controller.lease" -}}
{{- $slice := .Values.kcp.endpointSlice -}}
{{- if or (not $slice) (eq $slice "workload.kcp.io") -}}
synctarget-controller
{{- else -}}
synctarget-controller-{{ $slice }}
{{- end -}}
{{- end -}}
