{{- define "labels" -}}
app.kubernetes.io/name: holdfast-agent
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "url" -}}
http://{{ if .Values.policies.ipv6 }}[fd00:ec2::23]{{ else }}169.254.170.23{{ end }}:2704/v1/credentials
{{- end }}
