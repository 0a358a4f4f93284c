# SPDX-License-Identifier: Apache-2.0
"""The plain manifests: what each folder builds to, and that it is what the chart renders."""
import shutil
import subprocess

import pytest
from cryptography import x509
from manifests import (DEPLOY, VERSIONS, bundle, call, check_configurations, check_references, check_restricted, documents,
                       only, pods, render, validate, webhooks)

FOLDER = DEPLOY / "kubernetes"
# Complete: `kubectl apply -k` of these is an installation. own-certificate wants files and has a test of its own.
OVERLAYS = ("overlays/cert-manager", "overlays/canary", "overlays/gateway")
PARTS = ("monitoring/prometheus-operator", "monitoring/azure", "policy")
EXTERNAL = [("Secret", name) for name in ("postern-injector-tls", "postern-gateway-tls", "postern-keys", "postern-pepper")]
# What only Helm says, or only one of the two.
LABELS = ("helm.sh/chart", "app.kubernetes.io/managed-by", "app.kubernetes.io/version")


def build(kustomize, folder):
    return documents(call(kustomize, "build", folder))


def plain(value):
    """Without the labels that tell the tools apart, and with images by their last part: the registry is an overlay's to say."""
    if isinstance(value, dict):
        return {key: plain(child) for key, child in value.items() if key not in LABELS}
    if isinstance(value, list):
        return [plain(child) for child in value]
    return value


def by_name(found):
    return {(one["apiVersion"], one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]): plain(one) for one in found}


@pytest.mark.parametrize("folder", OVERLAYS + PARTS)
def test_builds_what_kubernetes_takes(kustomize, tmp_path, folder):
    found = build(kustomize, FOLDER / folder)
    for version in VERSIONS:
        if folder != "policy" or version == VERSIONS[-1]:
            validate(found, version)
    check_configurations(found, tmp_path)
    if folder in OVERLAYS:
        check_references(found, EXTERNAL)
        for _, pod in pods(found):
            check_restricted(pod)


@pytest.mark.parametrize("folder, values, options", [
    ("overlays/cert-manager", "keyless", ["--set", "injector.certificates.mode=cert-manager"]),
    ("overlays/canary", "canary", ["--namespace", "postern-canary", "--set", "injector.replicas=2,injector.podDisruptionBudget.enabled=true"]),
    ("overlays/gateway", "gateway", ["--set", "injector.enabled=false,gateway.httpRoute.enabled=false,monitoring.apiGroups=null,image.digest="]),
    ("monitoring/prometheus-operator", "gateway", ["-s", "templates/monitors.yaml", "--set", "monitoring.apiGroups={monitoring.coreos.com}"]),
    ("monitoring/azure", "gateway", ["-s", "templates/monitors.yaml", "--set", "monitoring.apiGroups={azmonitoring.coreos.com}"]),
    ("policy", "policy", []),
])
def test_is_what_the_chart_renders(helm, kustomize, folder, values, options):
    chart = by_name(render(helm, *options, values=values))
    mine = by_name(one for one in build(kustomize, FOLDER / folder) if one["kind"] != "Namespace")
    assert set(mine) == set(chart)
    for name, one in mine.items():
        if one["kind"] == "ConfigMap":
            continue  # the texts differ in comments; both are checked
        assert one == chart[name], name


def test_own_certificate(kustomize, tmp_path):
    """certificate.sh, twice as in a rotation, then the build: the webhooks trust both the new and the last certificate."""
    copy = tmp_path / "kubernetes"
    shutil.copytree(FOLDER, copy, ignore=shutil.ignore_patterns("tls.*", "ca.crt"))
    overlay = copy / "overlays" / "own-certificate"
    certificates = []
    for _ in range(2):
        subprocess.run([str(overlay / "certificate.sh")], check=True, capture_output=True)
        certificates.append(x509.load_pem_x509_certificate((overlay / "tls.crt").read_bytes()))
    found = build(kustomize, overlay)
    for version in VERSIONS:
        validate(found, version)
    check_references(found)
    check_configurations(found, tmp_path)
    assert len(webhooks(found)) == 5
    for hook in webhooks(found):
        for certificate in certificates:
            issuers = [ca for ca in x509.load_pem_x509_certificates(bundle(hook)) if ca.subject == certificate.issuer]
            assert any(issued(certificate, ca) for ca in issuers)
    assert only(found, "Secret")["type"] == "kubernetes.io/tls"
    assert (overlay / "tls.key").stat().st_mode & 0o077 == 0


def issued(certificate, ca):
    try:
        certificate.verify_directly_issued_by(ca)
    except Exception:  # a wrong signature, by whatever name
        return False
    return True


def test_namespace_is_restricted_and_never_injected(kustomize):
    labels = only(build(kustomize, FOLDER / "namespace"), "Namespace")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted" and labels["postern.io/inject"] == "disabled"


def test_every_folder_is_built_by_a_test():
    made = {str(path.parent.relative_to(FOLDER)) for path in FOLDER.rglob("kustomization.yaml")}
    assert made == {*OVERLAYS, *PARTS, "overlays/own-certificate", "namespace", "injector", "gateway"}
