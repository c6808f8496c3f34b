{{/* Names. 40 characters leave room for "-valkey-headless" and the hashes that controllers append. */}}
{{- define "breakwater.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "breakwater.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "breakwater.operatorName" -}}{{ include "breakwater.fullname" . }}-operator{{- end -}}
{{- define "breakwater.valkeyName" -}}{{ include "breakwater.fullname" . }}-valkey{{- end -}}

{{/* Labels of one part: (dict "root" $ "part" "operator"). */}}
{{- define "breakwater.selector" -}}
app.kubernetes.io/name: {{ include "breakwater.name" .root }}
app.kubernetes.io/component: {{ .part }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
{{- end -}}

{{- define "breakwater.labels" -}}
{{ include "breakwater.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* repository[:tag][@digest] of .Values.image. */}}
{{- define "breakwater.image" -}}
{{- $image := .Values.image -}}
{{- $tag := default .Chart.AppVersion $image.tag -}}
{{- $image.repository }}{{ if or $image.tag (not $image.digest) }}:{{ $tag }}{{ end }}{{ if $image.digest }}@{{ $image.digest }}{{ end -}}
{{- end -}}

{{- define "breakwater.valkeyImage" -}}
{{- $image := .Values.valkey.image -}}
{{- if $image.repository -}}
{{- $image.repository }}{{ if $image.tag }}:{{ $image.tag }}{{ end }}{{ if $image.digest }}@{{ $image.digest }}{{ end -}}
{{- else -}}
{{- include "breakwater.image" . -}}
{{- end -}}
{{- end -}}

{{- define "breakwater.serviceAccountName" -}}
{{- default (include "breakwater.operatorName" .) .Values.operator.serviceAccount.name -}}
{{- end -}}

{{- define "breakwater.operatorURL" -}}
http://{{ include "breakwater.operatorName" . }}.{{ .Release.Namespace }}.svc:8080
{{- end -}}

{{/* "true" when the chart installs the store. */}}
{{- define "breakwater.ownStore" -}}
{{- if not (or .Values.redis.external.url .Values.redis.external.existingSecret) -}}true{{- end -}}
{{- end -}}

{{- define "breakwater.operatorSecret" -}}
{{- default (include "breakwater.operatorName" .) .Values.operator.existingSecret -}}
{{- end -}}

{{- define "breakwater.valkeySecret" -}}
{{- default (include "breakwater.valkeyName" .) .Values.valkey.existingSecret -}}
{{- end -}}

{{/* Where the address of the store comes from: env entry REDIS_URL. */}}
{{- define "breakwater.redisURL" -}}
{{- $external := .Values.redis.external -}}
{{- $secret := include "breakwater.valkeySecret" . -}}
{{- $key := "url" -}}
{{- if $external.existingSecret -}}
{{- $secret = $external.existingSecret -}}
{{- $key = $external.key -}}
{{- else if $external.url -}}
{{- $secret = printf "%s-redis" (include "breakwater.fullname" .) -}}
{{- end -}}
- name: REDIS_URL
  valueFrom:
    secretKeyRef:
      name: {{ $secret | quote }}
      key: {{ $key | quote }}
{{- end -}}

{{/* What is in a Secret that an earlier install made, else a new one: (dict "root" $ "secret" name "key" name).
A Secret that is there without the entry is somebody's mistake: making a new value would cut every desk off. */}}
{{- define "breakwater.kept" -}}
{{- $found := lookup "v1" "Secret" .root.Release.Namespace .secret -}}
{{- if $found -}}
{{- $value := get (default dict $found.data) .key -}}
{{- if not $value -}}
{{- fail (printf "Secret %s/%s exists and has no entry %s: restore it, or delete the Secret to have a new one made (components of running desks must then be restarted)" .root.Release.Namespace .secret .key) -}}
{{- end -}}
{{- $value | b64dec -}}
{{- else -}}
{{- randAlphaNum 48 -}}
{{- end -}}
{{- end -}}

{{/* Placement of a pod: (operator, valkey values). */}}
{{- define "breakwater.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* The restricted profile. */}}
{{- define "breakwater.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .Values.securityContext.runAsUser | int64 }}
runAsGroup: {{ .Values.securityContext.fsGroup | int64 }}
fsGroup: {{ .Values.securityContext.fsGroup | int64 }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "breakwater.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "breakwater.podIP" -}}
- name: POD_IP
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
{{- end -}}
