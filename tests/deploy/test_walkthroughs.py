# SPDX-License-Identifier: Apache-2.0
"""
The examples that a reader follows end to end: their manifests are Kubernetes', their values render, and each pod in them, passed by an
injector with those values, comes out with a sidecar whose configuration is good.
"""
import contextlib
import copy
import re

import jsonpatch
import kubernetes_validate
import pytest
import yaml
from harness import injector, process
from manifests import DEPLOY, VERSIONS, call, check_configurations, check_references, documents, only, render, validate

FOLDER = DEPLOY / "examples"
NAMES = sorted(path.parent.name for path in FOLDER.glob("*/README.md"))
# Whose values install the injector that an example relies on, and the namespace its pods go to.
INJECTORS = {"aks-store-demo": ("aks-store-demo", "pets"), "jobs": ("jobs", "default"), "kaito": ("jobs", "pets"),
             "shared-gateway": ("shared-gateway", "team-search")}
EXTERNAL = [("Secret", "postern-gateway-tls"), ("Secret", "postern-keys"), ("Secret", "postern-pepper"),
            ("Secret", "postern-cache")]
CA = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def manifests(name):
    """(file, document) of everything in an example that goes to the API server."""
    return [(path.name, one) for path in sorted((FOLDER / name).glob("*.yaml")) if path.name != "values.yaml" for one in documents(path.read_text())]


def templates(one):
    """The pod templates in a workload."""
    if one["kind"] == "CronJob":
        return templates({"kind": "Job", "spec": one["spec"]["jobTemplate"]["spec"]})
    return [one["spec"]["template"]] if one["kind"] in ("Deployment", "Job") else []


PODS = [(name, file, template) for name in NAMES for file, one in manifests(name) for template in templates(one)]


@pytest.mark.parametrize("name", NAMES)
def test_manifests_are_kubernetes(name, tmp_path):
    found = [one for _, one in manifests(name) if not one["apiVersion"].startswith("kaito.sh/")]
    for version in VERSIONS:
        validate(found, version)
    check_configurations(found, tmp_path)


@pytest.mark.parametrize("name", sorted({values for values, _ in INJECTORS.values()}))
def test_values_render(helm, tmp_path, name):
    found = render(helm, "-f", FOLDER / name / "values.yaml")
    for version in VERSIONS:
        validate(found, version)
    check_references(found, EXTERNAL)
    check_configurations(found, tmp_path)


@pytest.fixture(scope="module")
def injected(helm, tmp_path_factory, certificates):
    """injected(EXAMPLE, TEMPLATE) -> the response and the pod as the API server would store it."""
    with contextlib.ExitStack() as stack:
        running = {}

        def mutate(name, template):
            values, namespace = INJECTORS[name]
            if values not in running:
                found = render(helm, "-f", FOLDER / values / "values.yaml", "--set-string", f"injector.profiles[0].ca={CA}") \
                    if values == "shared-gateway" else render(helm, "-f", FOLDER / values / "values.yaml")
                settings = yaml.safe_load(only(found, "ConfigMap", "postern-injector")["data"]["postern.yaml"])["filters"]["inject"]
                running[values] = injector.Injector(tmp_path_factory.mktemp("inject"), certificates, settings)
                stack.callback(running[values].stop)
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "p-", **copy.deepcopy(template["metadata"])},
                   "spec": copy.deepcopy(template["spec"])}
            response = running[values].call("/mutate", injector.review("Pod", pod, namespace=namespace))
            assert response["allowed"], response
            return response, jsonpatch.apply_patch(pod, injector.patch_of(response))

        yield mutate


@pytest.mark.parametrize("name, file, template", PODS, ids=[f"{name}/{file}" for name, file, _ in PODS])
def test_pods_get_a_sidecar_that_can_start(injected, tmp_path, name, file, template):
    response, pod = injected(name, template)
    plain = template["metadata"].get("annotations", {}).get("postern.io/sidecar") == "container"
    sidecar = next(one for one in pod["spec"]["containers" if plain else "initContainers"] if one["name"] == "postern")
    assert sidecar.get("restartPolicy") == (None if plain else "Always")
    assert sidecar["image"].startswith("contoso.azurecr.io/postern:")
    kubernetes_validate.validate(pod, VERSIONS[1], strict=True)
    config = pod["metadata"]["annotations"].get("postern.io/profile-config")
    if config:
        path = tmp_path / "postern.yaml"
        path.write_text(config)
        call(process.binary(), "check", "--offline", path)
    else:
        assert only([one for _, one in manifests(name)], "ConfigMap", template["metadata"]["annotations"]["postern.io/config"])
    warnings = " ".join(response.get("warnings", []))
    assert not warnings or plain or "AzureOpenAI" in warnings or "Azure class" in warnings, warnings


def variables(pod, container):
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in next(c for c in pod["spec"]["containers"] if c["name"] == container)["env"]}


def demo(injected, file, name="aks-store-demo"):
    template = next(template for example, found, template in PODS if (example, found) == (name, file))
    return variables(injected(name, template)[1], "ai-service")


def test_store_demo_observed(injected):
    """The endpoint is Postern's, the key still the application's own."""
    found = demo(injected, "ai-service-observe.yaml")
    assert found["AZURE_OPENAI_ENDPOINT"] == "http://127.0.0.1:4610/"
    assert found["OPENAI_API_KEY"] == {"secretKeyRef": {"name": "azure-openai", "key": "key"}}


def test_store_demo_keyless(injected):
    """The demo wants an endpoint and a key that is not empty; both are placeholders, and no Secret is named anywhere in the pod."""
    found = demo(injected, "ai-service-keyless.yaml")
    assert found["AZURE_OPENAI_ENDPOINT"] == "http://127.0.0.1:4610/"
    assert found["OPENAI_API_KEY"] and isinstance(found["OPENAI_API_KEY"], str)
    text = (FOLDER / "aks-store-demo" / "ai-service-keyless.yaml").read_text()
    assert "secret" not in re.sub(r"#.*", "", text).lower()


def test_store_demo_with_kaito(injected):
    assert demo(injected, "ai-service.yaml", "kaito")["LOCAL_LLM_ENDPOINT"] == "http://127.0.0.1:4610/v1"


@pytest.mark.parametrize("name", NAMES)
def test_readmes_name_files_that_exist(name):
    text = (FOLDER / name / "README.md").read_text()
    root = DEPLOY.parent
    for path in set(re.findall(r"deploy/[\w./-]+", text)) - {"deploy/helm/postern"}:
        assert (root / path.rstrip(".")).exists(), path
    for path in re.findall(r"\]\(((?!https?:)[^)#]+)\)", text):
        assert (FOLDER / name / path).exists(), path
