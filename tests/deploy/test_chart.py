# SPDX-License-Identifier: Apache-2.0
"""The Helm chart: every set of values in the chart's ci folder, a matrix beyond them, and what the rendered objects mean together."""
import base64
import json
import re
import shutil

import api_server
import pytest
import yaml
from cryptography import x509
from manifests import (CHART, DEPLOY, NAMESPACE, VERSIONS, Refused, bundle, call, check_configurations, check_references,
                       check_restricted, of_kind, only, pods, render, selects, validate, webhooks)

VALUES = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml"))
SECRETS = [("Secret", name) for name in ("postern-injector-tls", "postern-gateway-tls", "postern-keys", "postern-pepper", "mine")]
EXTERNAL = [*SECRETS, ("ConfigMap", "models"), ("ServiceAccount", "default"), ("ServiceAccount", "models")]

# (values file, options): what is off by default, or off in that file, one at a time.
MATRIX = [
    ("keyless", ["--set", "injector.webhook.failurePolicy=Ignore,injector.webhook.timeoutSeconds=3"]),
    ("keyless", ["--set", "injector.certificates.mode=cert-manager,injector.certificates.issuerRef.name=company"]),
    ("keyless", ["--set", "injector.certificates.mode=secret,injector.certificates.secretName=mine,injector.certificates.caBundle=PEM"]),
    ("keyless", ["--set", "injector.networkPolicy.enabled=false,injector.podDisruptionBudget.enabled=false,injector.priorityClassName="]),
    ("keyless", ["--set", "injector.webhook.disableAdmissionsEnforcer=true,injector.sidecar=container,nameOverride=gate"]),
    ("keyless", ["--set", "imagePullSecrets[0].name=registry,injector.sidecarImage=other.azurecr.io/postern:1,fullnameOverride=gate"]),
    ("keyless", ["--set-json", 'injector.tolerations=[{"operator":"Exists"}]', "--set", "injector.podAnnotations.a=b,injector.podLabels.c=d"]),
    ("keyless", ["--set-string", "injector.revision=1"]),
    ("keyless", ["--set", "injector.replicas=1,injector.podDisruptionBudget.minAvailable=50%,injector.settings.mesh_containers={mine}"]),
    ("gateway", ["--set", "gateway.podDisruptionBudget.minAvailable=1,gateway.podDisruptionBudget.maxUnavailable=null"]),
    ("gateway", ["--set", "gateway.autoscaling.targetCPU=0"]),
    ("gateway", ["--set", "gateway.autoscaling.targetStreams=0,gateway.podDisruptionBudget.maxUnavailable=25%"]),
    ("gateway", ["--set", "gateway.service.type=LoadBalancer,gateway.service.port=443", "--set-string",
                 "gateway.service.annotations.service\\.beta\\.kubernetes\\.io/azure-load-balancer-internal=true"]),
    ("gateway", ["--set", "gateway.serviceAccount.create=false"]),
    ("gateway", ["--set", "gateway.serviceAccount.create=false,gateway.serviceAccount.name=models,gateway.workloadIdentity=false"]),
    ("gateway", ["--set", "gateway.networkPolicy.enabled=false,gateway.topologySpreadConstraints=null,monitoring.sidecars=false"]),
    ("gateway", ["--set-json", 'gateway.env=[{"name":"A","value":"b"}]', "--set", "gateway.priorityClassName=high,monitoring.labels.release=p"]),
]
CASES = [(values, []) for values in VALUES] + MATRIX


@pytest.mark.parametrize("values, options", CASES, ids=lambda part: part if isinstance(part, str) else " ".join(part)[:60])
def test_renders_what_kubernetes_takes(helm, tmp_path, values, options):
    for version in VERSIONS:
        found = render(helm, *options, values=values, version=version)
        validate([one for one in found if not one["kind"].startswith("MutatingAdmissionPolicy") or version == VERSIONS[-1]], version)
    names = [(one["kind"], one["apiVersion"], one["metadata"]["name"]) for one in found]
    assert len(names) == len(set(names))
    check_references(found, EXTERNAL)
    check_configurations(found, tmp_path)
    for _, pod in pods(found):
        check_restricted(pod)


@pytest.mark.parametrize("values", VALUES)
def test_lints(helm, values):
    text = call(helm, "lint", CHART, "--strict", "--kube-version", "1.33.0", "-f", CHART / "ci" / f"{values}-values.yaml")
    assert "WARNING" not in text and "ERROR" not in text


@pytest.mark.parametrize("options, message", [
    ([], "image.repository is required"),
    (["--set", "image.repository=r/p"], "set azureOpenAI.endpoint"),
    (["--set", "image.repository=r/p,injector.enabled=false,gateway.enabled=true"], "gateway.config is required"),
    (["--set", "image.repository=r/p,azureOpenAI.endpoint=http://plain"], "azureOpenAI"),
    (["--set", "image.repository=r/p:tag,azureOpenAI.endpoint=https://a"], "repository"),
    (["--set", "injector.replica=3"], "replica"),
    (["--set", "injector.sidecar=nativ"], "sidecar"),
    (["--set", "injector.webhook.timeoutSeconds=31"], "timeoutSeconds"),
    (["--set", "monitoring.apiGroups={prometheus.io}"], "apiGroups"),
    (["--set", "gateway.podDisruptionBudget.maxUnavailible=1"], "maxUnavailible"),
    (["--set", "image.repository=r/p,azureOpenAI.endpoint=https://a,injector.certificates.mode=secret"], "caBundle is required"),
    (["--set", "image.repository=r/p,azureOpenAI.endpoint=https://a,injector.certificates.mode=secret,injector.certificates.caBundle=PEM"],
     "secretName is required"),
    (["-f", "gateway", "--set", "gateway.autoscaling.targetCPU=0,gateway.autoscaling.targetStreams=0"], "set targetCPU, targetStreams or both"),
    (["-f", "gateway", "--set", "gateway.httpRoute.parentRefs=null"], "parentRefs is required"),
    (["-f", "gateway", "--set", "gateway.autoscaling.minReplicas=11"], "minReplicas is 11"),
    (["-f", "gateway", "--set", "gateway.podDisruptionBudget.minAvailable=1"], "minAvailable and maxUnavailable exclude each other"),
    (["-f", "gateway", "--set", "gateway.podDisruptionBudget.minAvailable=3,gateway.podDisruptionBudget.maxUnavailable=null,"
      "gateway.autoscaling.minReplicas=3"], "gateway.podDisruptionBudget.minAvailable is 3 of 3"),
    (["-f", "keyless", "--set", "injector.replicas=1"], "injector.podDisruptionBudget.minAvailable is 1 of 1"),
    (["-f", "keyless", "--set", "injector.settings.prefix=acme.io"], "prefix"),
    (["-f", "keyless", "--set", "injector.settings.image=r/p:1"], "image"),
])
def test_refuses_with_a_reason(helm, options, message):
    values = options[1] if options[:1] == ["-f"] else None
    with pytest.raises(Refused, match=re.escape(message)):
        render(helm, *(options[2:] if values else options), values=values)


def test_schema_knows_every_value():
    """And no other: what the schema describes and what values.yaml sets are the same names."""
    def names(schema, prefix=""):
        for key, child in schema.get("properties", {}).items():
            yield f"{prefix}{key}"
            if child.get("additionalProperties") is False and not key.endswith("resources"):
                yield from names(child, f"{prefix}{key}.")

    def keys(value, prefix=""):
        for key, child in (value or {}).items():
            yield f"{prefix}{key}"
            yield from keys(child, f"{prefix}{key}.") if isinstance(child, dict) else ()

    schema = set(names(json.loads((CHART / "values.schema.json").read_text())))
    values = set(keys(yaml.safe_load((CHART / "values.yaml").read_text())))
    # Maps of the user's own names, and the members of a type that are not set by default.
    free = ("resources", "nodeSelector", "podDisruptionBudget", "issuerRef", "settings")
    assert {name for name in values - schema if not any(f".{part}." in name for part in free)} == set()
    assert {name for name in schema - values if not any(f".{part}." in name for part in free)} == {"global"}


# ---- who is injected ----

ENABLED, DISABLED = {"postern.io/inject": "enabled"}, {"postern.io/inject": "disabled"}
CANARY = {"postern.io/revision": "canary"}


@pytest.mark.parametrize("namespace, pod, expected", [
    ({}, {}, None),
    (ENABLED, {}, "default"),
    (ENABLED, ENABLED, "default"),
    (ENABLED, DISABLED, None),
    ({}, ENABLED, "default"),
    ({}, DISABLED, None),
    (DISABLED, {}, None),
    (DISABLED, ENABLED, None),
    (ENABLED | CANARY, {}, "canary"),
    (ENABLED | CANARY, DISABLED, None),
    (ENABLED | CANARY, {"postern.io/revision": "default"}, "default"),
    (ENABLED, CANARY, "canary"),
    (ENABLED, CANARY | ENABLED, "canary"),
    ({}, ENABLED | CANARY, "canary"),
    (CANARY, ENABLED, "canary"),
    (CANARY, {}, None),
    ({}, CANARY, None),
    (ENABLED, {"postern.io/revision": "default"}, "default"),
    (ENABLED, {"postern.io/revision": "gone"}, None),
    (ENABLED | {"kubernetes.io/metadata.name": "kube-system"}, ENABLED, None),
    (ENABLED | {"kubernetes.io/metadata.name": "aks-istio-system"}, {}, None),
    (ENABLED | {"control-plane": "true"}, {}, None),
    (ENABLED | {"kubernetes.azure.com/managedby": "aks"}, {}, None),
])
def test_each_pod_meets_one_entry_of_one_injector(helm, namespace, pod, expected):
    injectors = {"default": render(helm, values="keyless"), "canary": render(helm, values="canary", namespace="postern-canary")}
    met = [(revision, hook["name"]) for revision, found in injectors.items()
           for hook in only(found, "MutatingWebhookConfiguration")["webhooks"]
           if selects(hook["namespaceSelector"], {"kubernetes.io/metadata.name": "pets", **namespace}) and selects(hook["objectSelector"], pod)]
    assert [revision for revision, _ in met] == ([expected] if expected else []), met


def test_an_injector_never_meets_itself(helm):
    for revision, namespace in (("keyless", NAMESPACE), ("canary", "postern-canary")):
        found = render(helm, values=revision, namespace=namespace)
        own = only(found, "Deployment")["spec"]["template"]["metadata"]["labels"]
        for hook in webhooks(found):
            assert not selects(hook["namespaceSelector"], {"kubernetes.io/metadata.name": namespace, **ENABLED, **CANARY})
            assert not selects(hook["objectSelector"], own)


def test_webhooks_say_what_the_api_server_must_know(helm):
    found = render(helm, values="keyless")
    for hook in webhooks(found):
        assert (hook["sideEffects"], hook["admissionReviewVersions"], hook["failurePolicy"]) == ("None", ["v1"], "Fail")
        assert hook["timeoutSeconds"] <= 10 and hook["matchPolicy"] == "Equivalent"
    assert {hook["reinvocationPolicy"] for hook in only(found, "MutatingWebhookConfiguration")["webhooks"]} == {"IfNeeded"}
    checked = only(found, "ValidatingWebhookConfiguration")["webhooks"][0]
    assert selects(checked["objectSelector"], {"postern.io/config": ""}) and not selects(checked["objectSelector"], {})
    assert checked["rules"][0]["operations"] == ["CREATE", "UPDATE"]


# ---- certificates ----

def names_of(certificate):
    return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)


def trusts(pem, certificate):
    """Whether one of the CAs in `pem` signed the certificate."""
    for ca in x509.load_pem_x509_certificates(pem):
        try:
            certificate.verify_directly_issued_by(ca)
            return True
        except Exception:  # each library version has its own for a wrong signature
            continue
    return False


def test_helm_makes_a_certificate_that_the_api_server_trusts(helm):
    found = render(helm, values="keyless")
    secret = only(found, "Secret")
    certificate = x509.load_pem_x509_certificate(base64.b64decode(secret["data"]["tls.crt"]))
    for hook in webhooks(found):
        service = hook["clientConfig"]["service"]
        assert f"{service['name']}.{service['namespace']}.svc" in names_of(certificate)
        assert trusts(bundle(hook), certificate)
    assert secret["type"] == "kubernetes.io/tls"


def test_cert_manager_issues_for_the_names_that_are_called(helm):
    found = render(helm, values="canary", namespace="postern-canary")
    leaf = only(found, "Certificate", "postern-injector")["spec"]
    assert leaf["secretName"] == only(found, "Deployment")["spec"]["template"]["spec"]["volumes"][1]["secret"]["secretName"]
    for hook in webhooks(found):
        service = hook["clientConfig"]["service"]
        assert f"{service['name']}.{service['namespace']}.svc" in leaf["dnsNames"] and "caBundle" not in hook["clientConfig"]
    annotations = only(found, "MutatingWebhookConfiguration")["metadata"]["annotations"]
    assert annotations == {"cert-manager.io/inject-ca-from": "postern-canary/postern-injector"}


@pytest.fixture
def cluster(owned, tmp_path):
    made = api_server.ApiServer(tmp_path)
    owned.callback(made.close)
    return made


def test_upgrades_keep_the_certificate_until_another_generation_is_asked_for(helm, cluster):
    def upgraded(generation):
        found = render(helm, "--dry-run=server", "--kubeconfig", cluster.kubeconfig, "--set", f"injector.certificates.generation={generation}",
                       values="keyless")
        secret = cluster.secrets["postern-injector-tls"] = only(found, "Secret")
        return secret["data"], bundle(webhooks(found)[0]), x509.load_pem_x509_certificate(base64.b64decode(secret["data"]["tls.crt"]))

    first, first_trusted, first_certificate = upgraded(1)
    again, again_trusted, _ = upgraded(1)
    assert (again, again_trusted) == (first, first_trusted)
    second, second_trusted, second_certificate = upgraded(2)
    assert second["tls.key"] != first["tls.key"]
    # Pods with the old certificate and pods with the new one are called alike.
    assert trusts(second_trusted, first_certificate) and trusts(second_trusted, second_certificate)
    assert upgraded(2)[1] == second_trusted
    third, third_trusted, third_certificate = upgraded(3)
    assert trusts(third_trusted, third_certificate) and trusts(third_trusted, second_certificate) and not trusts(third_trusted, first_certificate)


# ---- names that the documentation gives ----

def test_agrees_with_injection_md(helm):
    text = (DEPLOY / "injection.md").read_text()
    table = dict(re.findall(r"^\| ([^|]+?) \| (.+?) \|$", text, re.M))
    found = render(helm, values="keyless")
    container = pods(found)[0][1]["spec"]["containers"][0]
    assert f"`postern {' '.join(container['args'])}`" in table["command"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert table["webhook port"].startswith(str(ports["webhook"])) and f"port {ports['postern-admin']}" in table["probes, metrics"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert f"`{container[probe]['httpGet']['path']}`" in table["probes, metrics"].replace("GET ", "")
    paths = {kind: {hook["clientConfig"]["service"]["path"] for hook in only(found, kind)["webhooks"]}
             for kind in ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")}
    assert paths == {"MutatingWebhookConfiguration": {"/mutate"}, "ValidatingWebhookConfiguration": {"/validate"}}
    assert "`POST /mutate`" in table["mutating webhook for pods"] and "`POST /validate`" in table["validating webhook for ConfigMaps"]
    assert f"`{container['ports'][1]['name']}`" in table["the added container"]


def test_sidecars_are_found_by_the_name_of_their_port(helm):
    found = render(helm, values="gateway")
    monitors = of_kind(found, "PodMonitor")
    assert {one["apiVersion"] for one in monitors} == {"monitoring.coreos.com/v1", "azmonitoring.coreos.com/v1"}
    for one in monitors:
        assert one["spec"]["podMetricsEndpoints"][0]["port"] == "postern-admin" and one["spec"]["namespaceSelector"] == {"any": True}
        assert not any(selects(one["spec"]["selector"], pod["metadata"]["labels"]) for _, pod in pods(found))
        assert selects(one["spec"]["selector"], {"app": "ai-service"})


def test_azure_monitors_differ_by_their_limits_alone(helm):
    """Azure Managed Prometheus takes the Prometheus Operator's fields under its own group, and drops series beyond these limits."""
    found = [one for one in render(helm, values="gateway") if one["kind"].endswith("Monitor")]
    limits = {"labelLimit": 63, "labelNameLengthLimit": 511, "labelValueLengthLimit": 1023}
    theirs = {(one["kind"], one["metadata"]["name"]): one["spec"] for one in found if one["apiVersion"] == "azmonitoring.coreos.com/v1"}
    operator = {(one["kind"], one["metadata"]["name"]): one["spec"] for one in found if one["apiVersion"] == "monitoring.coreos.com/v1"}
    assert theirs == {name: {**spec, **limits} for name, spec in operator.items()} and len(theirs) == 3


def test_grace_is_longer_than_the_drain(helm):
    found = render(helm, values="gateway")
    drain = yaml.safe_load(only(found, "ConfigMap", "postern-gateway")["data"]["postern.yaml"])["drain"]
    seconds = sum(int(value.removesuffix("s")) for value in drain.values())
    assert only(found, "Deployment", "postern-gateway")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > seconds


def test_notes_say_what_comes_next(helm, tmp_path):
    """`helm template` leaves NOTES.txt out, so a copy of the chart renders it as the text of an object."""
    copy = tmp_path / "postern"
    shutil.copytree(CHART, copy)
    (copy / "templates" / "NOTES.txt").rename(copy / "notes")
    (copy / "templates" / "notes.yaml").write_text('{apiVersion: v1, kind: Notes, metadata: {name: n}, text: {{ tpl (.Files.Get "notes") . | toJson }}}')
    text = only(render(helm, "-s", "templates/notes.yaml", values="gateway", chart=copy), "Notes")["text"]
    assert "postern.io/inject=enabled" in text and "postern-gateway.postern-system.svc:8443" in text and "{{" not in text
