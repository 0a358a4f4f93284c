# SPDX-License-Identifier: Apache-2.0
"""Manifests as the tests look at them: made by helm and kustomize, judged by Kubernetes' schemas and by rules of our own."""
import base64
import pathlib
import subprocess

import kubernetes_validate
import yaml
from harness import process

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "postern"
NAMESPACE = "postern-system"
# The oldest that has native sidecars, one in the middle, and the first that serves MutatingAdmissionPolicy as v1.
VERSIONS = ("1.29.0", "1.33.0", "1.36.0")
# Kinds that other projects bring.
FOREIGN = ("cert-manager.io/", "gateway.networking.k8s.io/", "monitoring.coreos.com/", "azmonitoring.coreos.com/")
TIMEOUT = 120


class Refused(Exception):
    """What a program said when it ended with an error."""


def call(*command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=TIMEOUT, **options)
    if done.returncode != 0:
        raise Refused(done.stdout + done.stderr)
    return done.stdout


def documents(text):
    return [one for one in yaml.safe_load_all(text) if one]


def render(helm, *options, values=None, release="postern", namespace=NAMESPACE, version="1.33.0", chart=CHART):
    """The chart's documents with the values file ci/VALUES-values.yaml and more options of helm template."""
    files = ["-f", CHART / "ci" / f"{values}-values.yaml"] if values else []
    return documents(call(helm, "template", release, chart, "--namespace", namespace, "--kube-version", version, *files, *options))


def validate(found, version):
    """Raises for a document that Kubernetes of that version would not take; unknown fields count."""
    for one in found:
        if not one["apiVersion"].startswith(FOREIGN):
            kubernetes_validate.validate(one, version, strict=True)


def of_kind(found, kind):
    return [one for one in found if one["kind"] == kind]


def only(found, kind, name=None):
    matching = [one for one in of_kind(found, kind) if name in (None, one["metadata"]["name"])]
    assert len(matching) == 1, (kind, name, [one["metadata"]["name"] for one in of_kind(found, kind)])
    return matching[0]


def selects(selector, labels):
    """Whether a label selector fits `labels`, by the rules of the API's LabelSelector."""
    selector = selector or {}
    fits = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    for need in selector.get("matchExpressions", []):
        has, value = need["key"] in labels, labels.get(need["key"])
        fits &= {"In": has and value in need.get("values", ()), "NotIn": not has or value not in need.get("values", ()),
                 "Exists": has, "DoesNotExist": not has}[need["operator"]]
    return fits


def configurations(found):
    """name -> text of each postern.yaml in ConfigMaps."""
    return {one["metadata"]["name"]: text for one in of_kind(found, "ConfigMap") for key, text in one["data"].items() if key == "postern.yaml"}


def check_configurations(found, folder):
    """Every configuration, and every one that an injector's profiles hold, is good."""
    for name, text in configurations(found).items():
        texts = {name: text}
        inject = yaml.safe_load(text).get("filters", {}).get("inject", {})
        texts |= {f"{name}-{profile['name']}": profile["config"] for profile in inject.get("profiles", [])}
        for place, content in texts.items():
            path = folder / f"{place}.yaml"
            path.write_text(content)
            call(process.binary(), "check", "--offline", path)


def pods(found):
    """(name, pod template) of each Deployment."""
    return [(one["metadata"]["name"], one["spec"]["template"]) for one in of_kind(found, "Deployment")]


def check_restricted(pod):
    """The restricted Pod Security Standard, and what we ask beyond it: no writable root, memory bounded, nothing running as root."""
    spec = pod["spec"]
    assert not any(spec.get(name) for name in ("hostNetwork", "hostPID", "hostIPC"))
    assert all(not {"hostPath"} & set(volume) for volume in spec.get("volumes", []))
    for container in spec["containers"]:
        security = {**spec["securityContext"], **container["securityContext"]}
        assert security["runAsNonRoot"] and security["runAsUser"] == 65532
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert "memory" in container["resources"]["limits"] and "cpu" in container["resources"]["requests"]
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)


def check_references(found, external=()):
    """What documents say of each other is so: selectors, ports, mounts, accounts, targets of scaling. `external` exist already."""
    names = {(one["kind"], one["metadata"]["name"]) for one in found} | set(external)
    templates = pods(found)
    for name, pod in templates:
        spec = pod["spec"]
        volumes = {volume["name"] for volume in spec["volumes"]}
        mounts = [mount["name"] for container in spec["containers"] for mount in container["volumeMounts"]]
        assert volumes == set(mounts) and len(mounts) == len(set(mounts))
        for volume in spec["volumes"]:
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in names
            if "secret" in volume:
                assert ("Secret", volume["secret"]["secretName"]) in names
        assert ("ServiceAccount", spec["serviceAccountName"]) in names
        ports = {port["name"] for container in spec["containers"] for port in container["ports"]}
        assert all(container[probe]["httpGet"]["port"] in ports for container in spec["containers"]
                   for probe in ("startupProbe", "readinessProbe", "livenessProbe"))
    for service in of_kind(found, "Service"):
        behind = [pod for _, pod in templates if selects({"matchLabels": service["spec"]["selector"]}, pod["metadata"]["labels"])]
        assert len(behind) == 1
        ports = {port["name"] for container in behind[0]["spec"]["containers"] for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for kind, path in (("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector"), ("Deployment", "selector")):
        for one in of_kind(found, kind):
            assert len([pod for _, pod in templates if selects(one["spec"][path], pod["metadata"]["labels"])]) == 1
    for one in of_kind(found, "HorizontalPodAutoscaler"):
        deployment = only(found, "Deployment", one["spec"]["scaleTargetRef"]["name"])
        assert "replicas" not in deployment["spec"]
    for one in of_kind(found, "ServiceMonitor"):
        behind = [service for service in of_kind(found, "Service") if selects(one["spec"]["selector"], service["metadata"]["labels"])]
        assert len(behind) == 1
        assert one["spec"]["endpoints"][0]["port"] in {port["name"] for port in behind[0]["spec"]["ports"]}


def webhooks(found):
    return [hook for kind in ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
            for one in of_kind(found, kind) for hook in one["webhooks"]]


def bundle(hook):
    return base64.b64decode(hook["clientConfig"]["caBundle"])
