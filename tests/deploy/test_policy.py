# SPDX-License-Identifier: Apache-2.0
"""
The MutatingAdmissionPolicy, carried out by the API server's own code (tests/support/policy) on pods of the injector's corpus.
"""
import json
import subprocess

import kubernetes_validate
import pytest
import yaml
from manifests import DEPLOY, ROOT, Refused, documents, only

PODS = ROOT / "tests" / "support" / "pods"
VERSION = "1.36.0"
POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "p-"}, "spec": {"containers": [{"name": "app", "image": "app"}]}}
CASES = [path.stem for path in sorted(PODS.glob("*.yaml")) if "pod" in yaml.safe_load(path.read_text())]


@pytest.fixture(scope="module")
def policy(go_program, tmp_path_factory):
    """policy(POD) -> the pod as it is then, or None when the policy leaves it alone."""
    found = only(documents((DEPLOY / "kubernetes" / "policy" / "policy.yaml").read_text()), "MutatingAdmissionPolicy")
    # The program knows the kind as it was in 1.34; nothing in it has changed since but the version.
    path = tmp_path_factory.mktemp("policy") / "policy.yaml"
    path.write_text(yaml.safe_dump({**found, "apiVersion": "admissionregistration.k8s.io/v1beta1"}))

    def mutate(pod):
        done = subprocess.run([str(go_program("policy")), str(path)], input=json.dumps(pod), capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise Refused(done.stderr)
        return json.loads(done.stdout) if done.stdout else None

    return mutate


def variables(container):
    return {one["name"]: one.get("value", "") for one in container.get("env", [])}


@pytest.mark.parametrize("case", CASES)
def test_pods_of_the_corpus(policy, case):
    """What comes out is a pod, with everything that was in it, one sidecar, first; or it was not to be touched."""
    pod = yaml.safe_load((PODS / f"{case}.yaml").read_text())["pod"]
    spec = pod["spec"]
    if any(len(variables(one)) < len(one.get("env", [])) for one in spec["containers"]):
        with pytest.raises(Refused, match="duplicate entries"):
            policy(pod)
        return
    after = policy(pod)
    ours = [one for one in spec.get("initContainers", []) + spec["containers"] if one["name"] == "postern"]
    other = spec.get("hostNetwork") or spec.get("os", {}).get("name") == "windows"
    if ours or other or pod["metadata"].get("labels", {}).get("postern.io/inject") == "disabled":
        assert after is None
        return
    kubernetes_validate.validate({key: value for key, value in after.items() if key != "status"}, VERSION, strict=False)
    names = [one["name"] for one in after["spec"]["initContainers"]]
    assert names == ["postern", *(one["name"] for one in spec.get("initContainers", []))]
    assert {one["name"] for one in after["spec"]["volumes"]} == {"postern-config", *(one["name"] for one in spec.get("volumes", []))}
    for before, now in zip(spec["containers"], after["spec"]["containers"]):
        assert now["name"] == before["name"]
        assert {name: value for name, value in variables(now).items() if name in variables(before)} == variables(before)
        assert len(variables(now)) == len(now["env"])
    assert policy(after) is None


def test_sidecar(policy):
    after = policy(POD)
    sidecar = after["spec"]["initContainers"][0]
    assert sidecar["restartPolicy"] == "Always" and sidecar["args"] == ["run", "--config", "/etc/postern"]
    assert sidecar["startupProbe"]["httpGet"]["path"] == "/readyz"
    security = sidecar["securityContext"]
    assert security["runAsNonRoot"] and security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"]
    assert security["capabilities"] == {"drop": ["ALL"]} and security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert after["spec"]["volumes"] == [{"name": "postern-config", "configMap": {"name": "postern"}}]
    assert variables(after["spec"]["containers"][0]) == {
        "OPENAI_BASE_URL": "http://127.0.0.1:4610/v1", "OPENAI_API_KEY": "postern",
        "AZURE_OPENAI_ENDPOINT": "http://127.0.0.1:4610/", "AZURE_OPENAI_API_KEY": "postern"}


@pytest.mark.parametrize("own", ["AZURE_OPENAI_API_KEY", "OPENAI_API_VERSION"])
def test_container_for_the_azure_class(policy, own):
    pod = json.loads(json.dumps(POD))
    pod["spec"]["containers"][0]["env"] = [{"name": own, "value": "own"}]
    assert variables(policy(pod)["spec"]["containers"][0]) == {
        "OPENAI_API_KEY": "postern", "AZURE_OPENAI_ENDPOINT": "http://127.0.0.1:4610/", "AZURE_OPENAI_API_KEY": "postern", own: "own"}
