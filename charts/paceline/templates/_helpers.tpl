{{- define "paceline.fullname" -}}
{{- if contains "paceline" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-paceline" .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "paceline.selector" -}}
app.kubernetes.io/name: paceline
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "paceline.labels" -}}
{{ include "paceline.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "paceline.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- /* What every job's network policy must know of this installation, as JSON. */}}
{{- define "paceline.fence" -}}
{{- $fence := pick .Values.jobs.networkPolicy "metricsFrom" "extraEgress" -}}
{{- if .Values.progress.enabled -}}
{{- $_ := set $fence "operator" (include "paceline.selector" . | fromYaml) -}}
{{- end -}}
{{- toJson $fence -}}
{{- end -}}

{{- define "paceline.tlsSecret" -}}
{{ .Values.progress.tls.existingSecret | default (printf "%s-progress-tls" (include "paceline.fullname" .)) }}
{{- end -}}
