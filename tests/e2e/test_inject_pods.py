# SPDX-License-Identifier: Apache-2.0
"""
The corpus of pods in tests/support/pods: each patch applied by another library, the result held against Kubernetes' own schema and the
restricted Pod Security Standard, and passed by the injector once more.
"""
import contextlib
import copy
import pathlib
import re

import jsonpatch
import kubernetes_validate
import pytest
import yaml
from harness import injector, process

PODS = pathlib.Path(__file__).parent.parent / "support" / "pods"
# The oldest that AKS had with native sidecars on by default, and the newest known.
VERSIONS = ("1.29", "1.37")
CASES = sorted(path.stem for path in PODS.glob("*.yaml"))


@pytest.fixture(scope="module")
def webhook(tmp_path_factory, certificates):
    with contextlib.ExitStack() as stack:
        made = injector.Injector(tmp_path_factory.mktemp("inject"), certificates)
        stack.callback(made.stop)
        yield made


def mutate(webhook, pod, namespace):
    asked = injector.review("Pod", pod, namespace=namespace)
    response = webhook.call("/mutate", asked)
    return response, jsonpatch.apply_patch(pod, injector.patch_of(response))


def container(pod, name):
    return next(one for one in pod["spec"].get("initContainers", []) + pod["spec"]["containers"] if one["name"] == name)


def without_ours(pod, original):
    """The pod as it was, if nothing but additions of ours is in it. Variables are judged apart."""
    pod = copy.deepcopy(pod)
    for kind in ("initContainers", "containers"):
        if kind in pod["spec"]:
            pod["spec"][kind] = [one for one in pod["spec"][kind] if one["name"] != "postern"]
        if kind not in original["spec"]:
            assert pod["spec"].pop(kind, []) == []
    pod["spec"]["volumes"] = [one for one in pod["spec"].get("volumes", []) if not one["name"].startswith("postern-")]
    if "volumes" not in original["spec"]:
        assert pod["spec"].pop("volumes") == []
    annotations = pod["metadata"]["annotations"]
    before = original["metadata"].get("annotations", {})
    for name in ("injected", "warnings", "profile-config", "profile-ca"):
        annotations.pop(f"postern.io/{name}", None)
    if "kubectl.kubernetes.io/default-container" not in before:
        annotations.pop("kubectl.kubernetes.io/default-container", None)
    if "annotations" not in original["metadata"]:
        assert pod["metadata"].pop("annotations") == {}
    for kind in ("initContainers", "containers"):
        for one in pod["spec"].get(kind, []):
            was = container(original, one["name"])
            one["volumeMounts"] = [mount for mount in one.get("volumeMounts", []) if mount["name"] != "postern-run"]
            for key in ("env", "volumeMounts"):
                if key == "env" or key not in was:
                    one.pop(key, None)
                if key == "env" and key in was:
                    one[key] = was[key]
    return pod


def check_restricted(postern):
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/, restricted, as far as a container can say it."""
    security = postern["securityContext"]
    assert security["allowPrivilegeEscalation"] is False and security["runAsNonRoot"] is True and security["runAsUser"] != 0
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert security["readOnlyRootFilesystem"] is True
    assert not security.get("privileged") and not any("hostPort" in port for port in postern["ports"])


def check_place(pod, case):
    names = [one["name"] for one in pod["spec"].get("initContainers", [])]
    if case.get("plain"):
        assert "postern" not in names and pod["spec"]["containers"][0]["name"] == "postern"
        assert "restartPolicy" not in pod["spec"]["containers"][0]
        assert pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"] == pod["spec"]["containers"][1]["name"]
        return
    assert pod["spec"]["initContainers"][names.index("postern")]["restartPolicy"] == "Always"
    assert names.index("postern") == (names.index(case["after"]) + 1 if case["after"] else 0)


def check_volumes(pod):
    volumes = [volume["name"] for volume in pod["spec"]["volumes"]]
    assert len(volumes) == len(set(volumes))
    ours = container(pod, "postern")
    assert {mount["name"] for mount in ours["volumeMounts"]} == {name for name in volumes if name.startswith("postern-")}
    for volume in pod["spec"]["volumes"]:
        for item in volume.get("downwardAPI", {}).get("items", []):
            name = re.fullmatch(r"metadata\.annotations\['(.*)'\]", item["fieldRef"]["fieldPath"])[1]
            assert pod["metadata"]["annotations"][name]
        # Kinds that the restricted standard allows.
        if volume["name"].startswith("postern-"):
            assert set(volume) - {"name"} <= {"configMap", "downwardAPI", "projected", "emptyDir"}


def check_env(pod, original, expected):
    for name, variables in expected.items():
        entries = container(pod, name).get("env", [])
        for variable, value in variables.items():
            found = [entry.get("value") for entry in entries if entry["name"] == variable]
            if value is None:
                assert found == [], f"{name}: {variable}"
            else:
                assert found and set(found) == {value}, f"{name}: {variable}"
    for one in original["spec"].get("initContainers", []) + original["spec"]["containers"]:
        now = [entry["name"] for entry in container(pod, one["name"]).get("env", [])]
        before = [entry["name"] for entry in one.get("env", [])]
        assert now[: len(before)] == before, "additions come after what was there"
        assert len(set(now[len(before):])) == len(now) - len(before)


def check_warnings(pod, response, patterns):
    warnings = response.get("warnings", [])
    assert len(warnings) == len(patterns), warnings
    for warning, pattern in zip(warnings, patterns):
        assert re.search(pattern, warning), warning
    assert pod["metadata"]["annotations"].get("postern.io/warnings", "") == "; ".join(warnings)


def check_schema(pod):
    for version in VERSIONS:
        assert kubernetes_validate.validate(pod, version, strict=True) == version


@pytest.mark.parametrize("name", CASES)
def test_pod(webhook, name, tmp_path):
    case = yaml.safe_load((PODS / f"{name}.yaml").read_text())
    original, namespace = case["pod"], case.get("namespace", "shop")
    check_schema(original)
    response, pod = mutate(webhook, original, namespace)
    if "denied" in case:
        assert response["allowed"] is False and response["status"]["code"] == 403 and "patch" not in response
        message = response["status"]["message"]
        for pattern in case["denied"]:
            assert re.search(pattern, message), message
        assert message.count("; ") >= len(case["denied"]) - 1
        return
    assert response["allowed"] is True
    if case.get("untouched"):
        assert "patch" not in response and "warnings" not in response
        return
    postern = container(pod, "postern")
    check_schema(pod)
    check_restricted(postern)
    check_place(pod, case)
    check_volumes(pod)
    check_env(pod, original, case["env"])
    check_warnings(pod, response, case["warnings"])
    assert without_ours(pod, original) == original
    assert pod["metadata"]["annotations"]["postern.io/injected"] == "default"
    again, same = mutate(webhook, pod, namespace)
    assert again["allowed"] is True and "patch" not in again and same == pod
    check_config(pod, postern, tmp_path)


def check_config(pod, postern, folder):
    """What the sidecar will read, if it comes from a profile, is good and listens where the pod is told so."""
    text = pod["metadata"]["annotations"].get("postern.io/profile-config")
    admin = postern["startupProbe"]["httpGet"]["port"]
    assert postern["ports"] == [{"name": "postern-admin", "containerPort": admin, "protocol": "TCP"}]
    if text is None:
        assert [volume for volume in pod["spec"]["volumes"] if volume["name"] == "postern-config"][0]["configMap"]
        return
    (folder / "postern.yaml").write_text(text)
    done = process.postern("check", "--offline", folder)
    assert done.returncode == 0, done.stderr
    config = yaml.safe_load(text)
    port = int(pod["metadata"]["annotations"].get("postern.io/port", 4610))
    assert config["listeners"][0]["address"] == f"127.0.0.1:{port}"
    assert config["admin"]["address"] == f"0.0.0.0:{admin}"


def test_arguments_of_a_pod_with_everything(webhook):
    """What annotations say arrives in the container."""
    case = yaml.safe_load((PODS / "config_map.yaml").read_text())
    postern = container(mutate(webhook, case["pod"], "shop")[1], "postern")
    assert postern["args"] == ["run", "--config", "/etc/postern", "--log-level", "debug"]
    assert postern["resources"] == {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": "0.5", "memory": "512Mi"}}
    assert postern["readinessProbe"]["httpGet"]["port"] == 4701


@pytest.mark.parametrize("size", [1 << 20, 3 << 20])
def test_large_pod(webhook, size):
    """Beyond what etcd takes; most of it in one variable, which is the application's business."""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "large-"},
           "spec": {"containers": [{"name": f"c{i}", "image": "x", "env": [{"name": f"V{n}", "value": "\\\"ü" * (size // 4000)} for n in range(100)]}
                                   for i in range(10)]}}
    response, patched = mutate(webhook, pod, "shop")
    assert response["allowed"] is True
    assert container(patched, "c9")["env"][-1] == {"name": "AZURE_OPENAI_API_KEY", "value": "postern"}
    assert mutate(webhook, patched, "shop")[0].get("patch") is None


def test_annotations_may_not_become_too_large(webhook):
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "x-", "annotations": {"note": "x" * 262000}},
           "spec": {"containers": [{"name": "x", "image": "x"}]}}
    response = webhook.call("/mutate", injector.review("Pod", pod))
    assert response["allowed"] is False and re.search("256 KiB.*ConfigMap.*postern.io/config", response["status"]["message"])


def test_names_that_need_escapes(webhook):
    """Quotes, line feeds and characters beyond ASCII in what is echoed stay inside their strings."""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "x-", "annotations": {"postern.io/env": "\"},\n{é\u2028"}},
           "spec": {"containers": [{"name": "x", "image": "x"}]}}
    response = webhook.call("/mutate", injector.review("Pod", pod))
    assert response["allowed"] is False and "\"},\n{é\u2028" in response["status"]["message"]
