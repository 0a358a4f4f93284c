{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{- define "postern.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else -}}{{ printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}{{- end -}}
{{- end -}}
{{- end -}}

{{- define "postern.injector" -}}{{ include "postern.fullname" . }}-injector{{- end -}}
{{- define "postern.gateway" -}}{{ include "postern.fullname" . }}-gateway{{- end -}}

{{/* (dict "root" . "part" "gateway"): what selects a part's pods, and never changes. */}}
{{- define "postern.selector" -}}
app.kubernetes.io/name: postern
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end -}}

{{- define "postern.labels" -}}
{{ include "postern.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: postern
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "postern.image" -}}
{{- $repository := required "image.repository is required: where the image was pushed, e.g. --set image.repository=contoso.azurecr.io/postern" .Values.image.repository -}}
{{- if .Values.image.digest -}}{{ $repository }}@{{ .Values.image.digest }}
{{- else -}}{{ $repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{- end -}}
{{- end -}}

{{/* A configuration given as text or as YAML. */}}
{{- define "postern.text" -}}
{{- if kindIs "string" . -}}{{ . }}{{- else -}}{{ toYaml . }}{{- end -}}
{{- end -}}

{{- define "postern.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "postern.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* On the admin port. Liveness is slow to judge: a restart ends every stream. */}}
{{- define "postern.probes" -}}
startupProbe:
  httpGet: {path: /readyz, port: postern-admin}
  periodSeconds: 1
  failureThreshold: 60
readinessProbe:
  httpGet: {path: /readyz, port: postern-admin}
  periodSeconds: 5
  timeoutSeconds: 2
livenessProbe:
  httpGet: {path: /healthz, port: postern-admin}
  periodSeconds: 20
  timeoutSeconds: 5
  failureThreshold: 3
{{- end -}}

{{/* The profiles of the injector's configuration: those of the values, or the one that azureOpenAI.endpoint makes. */}}
{{- define "postern.profiles" -}}
{{- if .Values.injector.profiles -}}
{{- range .Values.injector.profiles }}
- name: {{ .name | quote }}
  {{- range $key, $value := omit . "name" "config" }}
  {{ $key }}: {{ toJson $value }}
  {{- end }}
  config: |
    {{- include "postern.text" .config | trim | nindent 4 }}
{{- end }}
{{- else -}}
{{- $endpoint := required "nothing says where sidecars find models: set azureOpenAI.endpoint=https://NAME.openai.azure.com, or injector.profiles (see values.yaml), or injector.enabled=false" .Values.azureOpenAI.endpoint }}
- name: default
  config: |
    # One Azure OpenAI resource, opened by the pod's workload identity; models are called as their deployments are.
    apiVersion: postern/v1
    listeners: [{address: "127.0.0.1:4610"}]
    admin: {address: "0.0.0.0:4611"}
    credentials: [{name: entra, workload_identity: {}}]
    targets: [{name: azure, azure: {endpoint: {{ $endpoint | quote }}}, credential: entra}]
    models: [{name: "*", targets: [azure]}]
{{- end -}}
{{- end -}}

{{/* The Secret with the webhook's certificate. */}}
{{- define "postern.certificate" -}}
{{- if eq .Values.injector.certificates.mode "secret" -}}
{{- required "injector.certificates.secretName is required with mode secret" .Values.injector.certificates.secretName -}}
{{- else -}}{{ include "postern.injector" . }}-tls{{- end -}}
{{- end -}}

{{/* The names of the injector's Service, as JSON: the API server asks for the one that ends in .svc. */}}
{{- define "postern.webhookNames" -}}
{{- $name := include "postern.injector" . -}}
{{- list (printf "%s.%s.svc" $name .Release.Namespace) (printf "%s.%s" $name .Release.Namespace) (printf "%s.%s.svc.cluster.local" $name .Release.Namespace) | toJson -}}
{{- end -}}

{{/*
With mode helm: {crt, key, ca} in base64, made now, or those of the Secret that is there when it is of the same generation. A new
generation trusts the newest CA of the old one beside its own, for as long as pods with the old certificate are running.
*/}}
{{- define "postern.certificates" -}}
{{- $wanted := toString .Values.injector.certificates.generation -}}
{{- $secret := lookup "v1" "Secret" .Release.Namespace (include "postern.certificate" .) | default dict -}}
{{- $data := get $secret "data" | default dict -}}
{{- $made := dig "metadata" "annotations" "postern.io/certificate-generation" "" $secret -}}
{{- if and (eq $made $wanted) (hasKey $data "ca.crt") -}}
{{- dict "crt" (get $data "tls.crt") "key" (get $data "tls.key") "ca" (get $data "ca.crt") | toJson -}}
{{- else -}}
{{- $days := int .Values.injector.certificates.days -}}
{{- $names := include "postern.webhookNames" . | fromJsonArray -}}
{{- $ca := genCA (printf "%s CA %s" (include "postern.injector" .) $wanted) $days -}}
{{- $certificate := genSignedCert (first $names) nil $names $days $ca -}}
{{- $before := get $data "ca.crt" | b64dec | regexFind "(?s)-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----" -}}
{{- $trusted := $ca.Cert -}}
{{- if $before }}{{ $trusted = printf "%s%s\n" $ca.Cert $before }}{{ end -}}
{{- dict "crt" (b64enc $certificate.Cert) "key" (b64enc $certificate.Key) "ca" (b64enc $trusted) | toJson -}}
{{- end -}}
{{- end -}}

{{/* Selector requirements that leave the release's own, Kubernetes' and AKS's namespaces alone. The last two are those that AKS's
admissions enforcer would add. */}}
{{- define "postern.otherNamespaces" -}}
- {key: kubernetes.io/metadata.name, operator: NotIn, values: {{ prepend .Values.injector.excludedNamespaces .Release.Namespace | uniq | toJson }}}
- {key: control-plane, operator: DoesNotExist}
- {key: kubernetes.azure.com/managedby, operator: NotIn, values: [aks]}
{{- end -}}

{{/* Webhook configurations belong to no namespace, so their name holds the release's. */}}
{{- define "postern.webhookMetadata" -}}
name: {{ .name }}.{{ .root.Release.Namespace }}
labels:
  {{- include "postern.labels" . | nindent 2 }}
  {{- if .root.Values.injector.webhook.disableAdmissionsEnforcer }}
  admissions.enforcer/disabled: "true"
  {{- end }}
{{- if eq .mode "cert-manager" }}
annotations:
  cert-manager.io/inject-ca-from: {{ .root.Release.Namespace }}/{{ .name }}
{{- end }}
{{- end -}}

{{- define "postern.gatewayAccount" -}}
{{- .Values.gateway.serviceAccount.name | default (ternary (include "postern.gateway" .) "default" .Values.gateway.serviceAccount.create) -}}
{{- end -}}

{{- define "postern.gatewayMetadata" -}}
name: {{ include "postern.gateway" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "postern.labels" (dict "root" . "part" "gateway") | nindent 2 }}
{{- end -}}

{{/* Azure Managed Prometheus takes no series beyond these. */}}
{{- define "postern.monitorLimits" -}}
{{- if eq . "azmonitoring.coreos.com" -}}
labelLimit: 63
labelNameLengthLimit: 511
labelValueLengthLimit: 1023
{{- end -}}
{{- end -}}

{{/* (dict "of" "injector" "budget" ... "replicas" 2): a PodDisruptionBudget's numbers, or why they cannot be: one that no pod may ever
leave stops every drain of a node, and with it AKS's upgrades. */}}
{{- define "postern.budget" -}}
{{- $least := .budget.minAvailable -}}
{{- $most := .budget.maxUnavailable -}}
{{- $both := and (not (kindIs "invalid" $least)) (not (kindIs "invalid" $most)) -}}
{{- if $both -}}
{{- fail (printf "%s.podDisruptionBudget: minAvailable and maxUnavailable exclude each other; set the one that is not wanted to null" .of) -}}
{{- end -}}
{{- if and (not (kindIs "invalid" $least)) (not (kindIs "string" $least)) (ge (int $least) (int .replicas)) -}}
{{- fail (printf "%s.podDisruptionBudget.minAvailable is %d of %d replicas, so no node they run on could be drained; give it fewer, or maxUnavailable instead" .of (int $least) (int .replicas)) -}}
{{- end -}}
{{- toYaml (omit .budget "enabled") -}}
{{- end -}}
