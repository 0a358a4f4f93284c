# SPDX-License-Identifier: Apache-2.0
"""The injector as a webhook server: reviews good and bad, both versions of HTTP, ConfigMaps, its own configuration, rotation."""
import concurrent.futures
import contextlib
import copy
import http.client
import itertools
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import threading

import jsonpatch
import pytest
from harness import certificates as making, injector, process, wire

POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "app-"}, "spec": {"containers": [{"name": "app", "image": "app"}]}}
GOOD = injector.OBSERVE
MOCK = """\
apiVersion: postern/v1
listeners: [{address: "127.0.0.1:4610"}]
admin: {address: "0.0.0.0:4611"}
drain: {delay: 0s}
targets: [{name: mock, mock: {}}]
models: [{name: "*", targets: [mock]}]
"""


@pytest.fixture(scope="module")
def webhook(tmp_path_factory, certificates):
    with contextlib.ExitStack() as stack:
        made = injector.Injector(tmp_path_factory.mktemp("inject"), certificates)
        stack.callback(made.stop)
        yield made


def config_map(**data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "chat-postern", "labels": {"postern.io/config": "true"}},
            "data": {name.replace("_", "."): text for name, text in data.items()}}


def counted(webhook, name):
    return sum(float(line.rpartition(" ")[2]) for line in webhook.admin_get("/metrics")[1].splitlines() if line.startswith(name))


# ---- the protocol ----


@pytest.mark.parametrize("option, version", [("--http1.1", "1.1"), ("--http2", "2")])
@pytest.mark.parametrize("size", [0, 1 << 20])
def test_both_versions_of_http(webhook, option, version, size):
    pod = copy.deepcopy(POD)
    pod["spec"]["containers"][0]["args"] = ["x" * size]
    asked = injector.review("Pod", pod)
    status, spoken, text = webhook.curl("/mutate", json.dumps(asked).encode(), option)
    assert (status, spoken) == (200, version)
    assert injector.patch_of(injector.judged(asked, json.loads(text)))


def test_chunked_body(webhook):
    asked = injector.review("Pod", POD)
    status, _, text = webhook.curl("/mutate", json.dumps(asked).encode(), "--http1.1", "-H", "Transfer-Encoding: chunked")
    assert status == 200 and injector.patch_of(injector.judged(asked, json.loads(text)))


def test_many_reviews_at_once(webhook):
    """A deployment that scales: connections of their own, each with several reviews."""
    def several(number):
        connection = webhook.connect()
        for turn in range(10):
            pod = copy.deepcopy(POD)
            pod["metadata"]["generateName"] = f"app-{number}-{turn}-"
            asked = injector.review("Pod", pod)
            connection.request("POST", "/mutate?timeout=5s", json.dumps(asked), {"Content-Type": "application/json"})
            assert injector.patch_of(injector.judged(asked, json.loads(connection.getresponse().read())))
        connection.close()
        return True

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(several, range(16)))


@pytest.mark.workers
def test_several_workers(owned, tmp_path, certificates):
    """Pods and ConfigMaps on connections of their own, while the configuration is loaded again."""
    webhook = injector.Injector(tmp_path, certificates, workers=2)
    owned.callback(webhook.stop)

    def ask(number):
        connection = webhook.connect()
        for turn in range(8):
            pod = injector.review("Pod", POD)
            thing = injector.review("ConfigMap", config_map(postern_yaml=GOOD if turn % 2 else GOOD.replace("[east]", "[west]")))
            for path, asked in (("/mutate", pod), ("/validate", thing)):
                connection.request("POST", path, json.dumps(asked), {"Content-Type": "application/json"})
                response = injector.judged(asked, json.loads(connection.getresponse().read()))
                assert response["allowed"] is (path == "/mutate" or turn % 2 == 1)
            if number == 0:
                webhook.signal(signal.SIGHUP)
        connection.close()
        return True

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        assert all(pool.map(ask, range(6)))


def test_dry_run_is_like_any_other(webhook):
    first = webhook.call("/mutate", injector.review("Pod", POD))
    dry = webhook.call("/mutate", injector.review("Pod", POD, dryRun=True))
    assert injector.patch_of(first) == injector.patch_of(dry)


def change(**request):
    asked = injector.review("Pod", POD)
    asked["request"].update(request)
    return asked


@pytest.mark.parametrize("asked", [
    change(operation="UPDATE"), change(operation="DELETE", object=None), change(operation="CONNECT"), change(subResource="ephemeralcontainers"),
    change(resource={"group": "", "version": "v1", "resource": "services"}), change(resource={"group": "apps", "version": "v1", "resource": "pods"}),
    change(resource={"group": "", "version": "v2", "resource": "pods"})])
def test_what_is_not_ours_is_allowed(webhook, asked):
    response = webhook.call("/mutate", asked)
    assert response["allowed"] is True and set(response) == {"uid", "allowed"}


@pytest.mark.parametrize("thing", [
    None, [], "pod", {}, {"spec": None}, {"spec": []}, {"spec": {}}, {"spec": {"containers": []}}, {"spec": {"containers": [1]}},
    {"spec": {"containers": [{"name": 1}]}}, {"metadata": {"labels": {"a": 1}}, "spec": {"containers": [{"name": "x"}]}},
    {"metadata": {"annotations": {"a": []}}, "spec": {"containers": [{"name": "x"}]}}])
def test_an_object_that_is_no_pod_is_denied(webhook, thing):
    """Not passed silently: a pod without Postern would bypass what Postern is there for."""
    response = webhook.call("/mutate", change(object=thing))
    assert response["allowed"] is False and response["status"]["message"].startswith("postern: ")


@pytest.mark.parametrize("body, reason", [
    (b"", "no JSON"), (b"{", "no JSON"), (b"[" * 200, "no JSON"), (b"{}", "kind and apiVersion"), (b"[]", "kind and apiVersion"),
    (json.dumps({**injector.review("Pod", POD), "apiVersion": "admission.k8s.io/v1beta1"}).encode(), "kind and apiVersion"),
    (json.dumps({**injector.review("Pod", POD), "kind": "Pod"}).encode(), "kind and apiVersion"),
    (json.dumps({**injector.review("Pod", POD), "request": None}).encode(), "no request"),
    (json.dumps(change(uid="")).encode(), "no uid"), (json.dumps(change(uid=7)).encode(), "no uid"),
    (json.dumps(change(uid="u" * 200)).encode(), "no uid"), (b'{"kind":"AdmissionReview"} x', "no JSON"), (b"\xff\xfe", "no JSON")], ids=itertools.count())
def test_no_review(webhook, body, reason):
    """Not status 200: the API server then does what failurePolicy says, and shows the text."""
    status, text = webhook.post("/mutate", body)
    assert status == 400 and reason in text


def test_wrong_requests(webhook):
    body = json.dumps(injector.review("Pod", POD))
    assert webhook.post("/mutation", body)[0] == 404
    assert webhook.post("/mutate", body, {"Content-Type": "application/x-www-form-urlencoded"})[0] == 415
    assert webhook.post("/mutate", body, {"Content-Type": "Application/JSON; charset=utf-8"})[0] == 200
    connection = webhook.connect()
    connection.request("GET", "/mutate")
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("allow")) == (405, "POST")
    connection.close()


def test_body_limit(owned, tmp_path, certificates):
    webhook = injector.Injector(tmp_path, certificates, limits={"body": "64KiB"})
    owned.callback(webhook.stop)
    pod = copy.deepcopy(POD)
    pod["spec"]["containers"][0]["args"] = ["x" * 70000]
    status, _, _ = webhook.curl("/mutate", json.dumps(injector.review("Pod", pod)).encode(), "--http1.1")
    assert status == 413
    assert webhook.call("/mutate", injector.review("Pod", POD))["allowed"] is True


# ---- ConfigMaps ----


@pytest.mark.parametrize("data", [
    {"postern_yaml": GOOD}, {"a_yaml": GOOD.split("models:")[0], "b_yml": "models:" + GOOD.split("models:")[1], "ca_crt": "PEM", "notes_txt": ": ["},
    {"gateway_yaml": GOOD.replace("listeners:\n  - address: 127.0.0.1:4610", "listeners: [{address: '127.0.0.1:4610', tls: {certificate: tls.crt, key: tls.key}}]")}])
def test_good_config_map(webhook, data):
    for operation in ("CREATE", "UPDATE"):
        response = webhook.call("/validate", injector.review("ConfigMap", config_map(**data), operation))
        assert response == {"uid": response["uid"], "allowed": True}


@pytest.mark.parametrize("thing, message", [
    (config_map(postern_yaml=GOOD.replace("targets: [east]", "targets: [eats]")), r"postern\.yaml:7:\d+: no target is called \"eats\".*did you mean \"east\""),
    (config_map(postern_yaml=GOOD + "unknown: 1\n"), r"postern\.yaml:8:1: .*no setting \"unknown\""),
    (config_map(a_yaml=GOOD, b_yaml="workers: many\n"), r"b\.yaml:1:10: .*workers"),
    (config_map(a_yaml=GOOD + "workers: 1\n", b_yaml="workers: 2\n"), r"b\.yaml:1:\d+: .*a\.yaml:8:"),
    (config_map(postern_yaml=GOOD.replace("postern/v1", "postern/v1.99") + "later: 1\n"), r"later"),
    (config_map(postern_yaml="a: [\n"), r"postern\.yaml:\d+"),
    (config_map(postern_yaml=""), r"postern\.yaml"),
    (config_map(notes_txt="x"), r"no \*\.yaml or \*\.yml"),
    ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}, r"no \*\.yaml or \*\.yml"),
    ({**config_map(postern_yaml=GOOD), "binaryData": {"more.yaml": "YTogYgo="}}, r"data, not binaryData"),
    (config_map(postern_yaml=GOOD.replace("targets: [east]", "targets: [east], filters: [authorize]")
                + "filters: {authorize: {rules: [{groups: [a]}]}}\n"), r"postern\.yaml"),
])
def test_bad_config_map(webhook, thing, message):
    response = webhook.call("/validate", injector.review("ConfigMap", thing))
    assert response["allowed"] is False and response["status"]["code"] == 403
    assert re.search(message, response["status"]["message"]), response["status"]["message"]


def test_config_map_is_judged_as_check_does(webhook, tmp_path):
    """Word for word, but for the folder."""
    text = GOOD.replace("targets: [east]", "targets: [eats]").replace("https://", "ftp://") + "workers: x\n"
    (tmp_path / "postern.yaml").write_text(text)
    said = process.postern("check", "--offline", tmp_path).stderr.replace(f"{tmp_path}/", "").strip()
    response = webhook.call("/validate", injector.review("ConfigMap", config_map(postern_yaml=text)))
    assert response["status"]["message"].partition("\n")[2] == said
    assert said.count("\n") >= 2


def test_many_errors_are_cut(webhook):
    """The API server passes the message on to a person."""
    thing = config_map(postern_yaml=GOOD + "".join(f"unknown{i}: 1\n" for i in range(2000)))
    message = webhook.call("/validate", injector.review("ConfigMap", thing))["status"]["message"]
    assert len(message) < 10000 and message.endswith("\nand more") and "postern.yaml:8:1: " in message


def test_more_files_than_a_directory_may_have(webhook):
    thing = config_map(**{f"k{i}_yaml": "log: {}" for i in range(300)})
    assert "more than 256 files" in webhook.call("/validate", injector.review("ConfigMap", thing))["status"]["message"]


def test_large_config_map(webhook):
    models = "".join(f"  - {{name: m{i}, targets: [east]}}\n" for i in range(4000))
    thing = config_map(postern_yaml=GOOD.split("models:")[0] + "models:\n" + models, filler="x" * (1 << 20))
    assert webhook.call("/validate", injector.review("ConfigMap", thing))["allowed"] is True


def test_other_things_are_not_validated(webhook):
    assert webhook.call("/validate", injector.review("Pod", POD))["allowed"] is True
    assert webhook.call("/validate", injector.review("ConfigMap", config_map(a_yaml="["), "DELETE", object=None))["allowed"] is True


# ---- what it says ----


def test_metrics_and_log(owned, tmp_path, certificates):
    webhook = injector.Injector(tmp_path, certificates)
    owned.callback(webhook.stop)
    webhook.call("/mutate", injector.review("Pod", POD))
    pod = copy.deepcopy(POD)
    pod["spec"]["containers"][0]["env"] = [{"name": "OPENAI_BASE_URL", "value": process.CANARY_PROMPT},
                                          {"name": "OPENAI_API_KEY", "value": process.CANARY_CLIENT_KEY}]
    pod["spec"]["containers"][0]["envFrom"] = [{"secretRef": {"name": "x"}}]
    answer = json.dumps(webhook.call("/mutate", injector.review("Pod", pod)))
    pod["spec"]["hostNetwork"] = True
    webhook.call("/mutate", injector.review("Pod", pod))
    webhook.call("/mutate", change(operation="UPDATE"))
    webhook.call("/validate", injector.review("ConfigMap", config_map(a_yaml=GOOD)))
    webhook.post("/mutate", "x")
    for labels, count in (('webhook="mutate",result="patched"', 2), ('webhook="mutate",result="denied"', 1),
                          ('webhook="mutate",result="untouched"', 1), ('webhook="mutate",result="malformed"', 1),
                          ('webhook="validate",result="allowed"', 1)):
        assert counted(webhook, f"postern_inject_reviews_total{{{labels}}}") == count, labels
    assert counted(webhook, 'postern_inject_warnings_total{warning="base_url_kept"}') == 1
    assert counted(webhook, 'postern_inject_warnings_total{warning="env_from"}') == 1
    webhook.wait_line(r'inject: mutate: patched shop/app-: with profile "default"')
    webhook.wait_line(r"inject: mutate: denied shop/app-: the pod has hostNetwork")
    written = webhook.output() + answer + webhook.admin_get("/metrics")[1]
    assert process.CANARY_PROMPT not in written and process.CANARY_CLIENT_KEY not in written


# ---- its own configuration ----


def broken(**settings):
    return {**injector.SETTINGS, **settings}


def profile(**settings):
    return broken(profiles=[{"name": "default", "config": GOOD, **settings}], namespaces=[{"name": "shop"}])


@pytest.mark.parametrize("settings, message", [
    (profile(config=GOOD.replace("[east]", "[west]")), r'profile "default", its line 7: no target is called "west"'),
    (profile(config=GOOD.replace("0.0.0.0:4611", "127.0.0.1:4611")), r'its line 4: probes come to the pod\'s address'),
    (profile(config=GOOD.replace('admin: {address: "0.0.0.0:4611"}\n', "")), "profile \"default\": probes come to the pod's address"),
    (profile(config=GOOD.replace("127.0.0.1:4610", "10.0.0.1:4610\n    anonymous: true")), r"its line 3: .*http://127\.0\.0\.1:PORT"),
    (profile(config=GOOD.replace("127.0.0.1:4610", '"unix:/run/postern/x.sock"')), r"http://127\.0\.0\.1:PORT"),
    (profile(config=GOOD.replace("127.0.0.1:4610", '"127.0.0.1:\\x34610"')), r"write this address on one line"),
    (profile(config="apiVersion: postern/v1\nlisteners: [{address: '127.0.0.1:1', filters: [inject]}]\nfilters: {inject: {image: x, profiles: [{name: a, config: x}]}}\n"),
     "a sidecar cannot be an injector"),
    (profile(config="x" * 200000), "config"),
    (profile(resources={"cpu_request": "many"}), r'"cpu_request" must be a quantity'),
    (profile(env_extra={"A-B": "/x"}), "env_extra"),
    (profile(env_extra={"A": "x"}), "env_extra"),
    (broken(namespaces=[{"name": "a", "profiles": ["none"]}]), 'there is no profile "none"'),
    (broken(namespaces=[{"name": "a", "annotations": ["image"]}]), r'"image" needs "images"'),
    (broken(namespaces=[{"name": "a", "annotations": [], "images": ["x"]}]), r'"images" has no effect'),
    (broken(namespaces=[{"name": "a", "annotations": ["prot"]}]), r"prot"),
    (broken(prefix="Postern/x"), "prefix"),
    ({"image": "x"}, "profiles"),
    ({"profiles": injector.SETTINGS["profiles"]}, "image"),
])
def test_bad_settings(tmp_path, settings, message):
    config = {"apiVersion": "postern/v1", "listeners": [{"address": "0.0.0.0:8443", "tls": {"certificate": "a", "key": "b"}, "filters": ["inject"]}],
              "filters": {"inject": settings}}
    (tmp_path / "c.yaml").write_text(json.dumps(config))
    done = process.postern("check", "--offline", tmp_path / "c.yaml")
    assert done.returncode == 1 and re.search(message, done.stderr), done.stderr


def configuration(**changes):
    return {"apiVersion": "postern/v1", "listeners": [{"address": "0.0.0.0:8443", "filters": ["inject"]}],
            "filters": {"inject": injector.SETTINGS}, **changes}


@pytest.mark.parametrize("config, message", [
    (configuration(listeners=[{"address": "127.0.0.1:1", "filters": ["inject", "headers"]}],
                   filters={"inject": injector.SETTINGS, "headers": {"request": {"remove": ["x"]}}}), "answers everything.*name it last"),
    (configuration(listeners=[{"address": "127.0.0.1:1", "filters": ["inject"]}, {"address": "127.0.0.1:2"}]), 'no "models"'),
    (configuration(listeners=[{"address": "127.0.0.1:1"}], targets=[{"name": "m", "mock": {}}],
                   models=[{"name": "*", "targets": ["m"], "filters": ["inject"]}]), "name it at a listener"),
])
def test_injector_in_the_wrong_place(tmp_path, config, message):
    (tmp_path / "c.yaml").write_text(json.dumps(config))
    done = process.postern("check", "--offline", tmp_path / "c.yaml")
    assert done.returncode == 1 and re.search(message, done.stderr), done.stderr


def test_command_wants_an_injector(tmp_path):
    (tmp_path / "c.yaml").write_text(GOOD)
    done = process.postern("inject", "--config", tmp_path / "c.yaml")
    assert done.returncode == 1 and 'has the filter "inject"' in done.stderr
    assert process.postern("inject").returncode == 2
    assert process.postern("run", "--config", "x", "--log-level", "loud").returncode == 2


@pytest.mark.parametrize("line, says", [
    ("POST /mutate?timeout=5s HTTP/1.1", "adds Postern to the pod"), ("POST /validate HTTP/1.1", "checks the ConfigMap"),
    ("GET /mutate HTTP/1.1", "answers with an error"), ("POST /v1/chat/completions HTTP/1.1", "answers with an error")])
def test_simulate(tmp_path, line, says):
    (tmp_path / "c.yaml").write_text(json.dumps(configuration(listeners=[{"address": "127.0.0.1:8443", "filters": ["inject"]}])))
    (tmp_path / "r.http").write_bytes(f"{line}\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}".encode())
    done = process.postern("simulate", tmp_path / "c.yaml", tmp_path / "r.http")
    assert done.returncode == 0 and says in done.stdout, done.stdout + done.stderr


def test_log_level_of_the_command_line(owned, tmp_path, certificates):
    """Also after a reload whose configuration says otherwise."""
    made = injector.Injector(tmp_path, certificates, arguments=("--log-level", "debug"), log={"level": "error"})
    owned.callback(made.stop)
    made.signal(signal.SIGHUP)
    made.wait_line("configuration .* in force")
    made.call("/mutate", change(operation="UPDATE"))
    made.wait_line("debug.*inject: mutate: untouched")


# ---- life ----


def test_the_pod_it_makes_serves(owned, tmp_path, certificates):
    """From label to completion: the sidecar of a patched pod runs as the patch says, and the SDK finds it by its environment alone."""
    mock = MOCK.replace("4610", str(process.free_port()))
    webhook = injector.Injector(tmp_path, certificates, profile(config=mock))
    owned.callback(webhook.stop)
    pod = copy.deepcopy(POD)
    port, admin = process.free_port(), process.free_port()
    pod["metadata"]["annotations"] = {"postern.io/port": str(port), "postern.io/admin-port": str(admin), "postern.io/log-level": "debug"}
    patched = jsonpatch.apply_patch(pod, injector.patch_of(webhook.call("/mutate", injector.review("Pod", pod))))
    sidecar = patched["spec"]["initContainers"][0]
    # What the kubelet makes of volume and mount.
    etc = tmp_path / "etc"
    etc.mkdir()
    assert [mount["mountPath"] for mount in sidecar["volumeMounts"]][0] == "/etc/postern"
    (etc / "postern.yaml").write_text(patched["metadata"]["annotations"]["postern.io/profile-config"])
    arguments = [str(etc) if argument == "/etc/postern" else argument for argument in sidecar["args"]]
    child = process.Process([process.binary(), *arguments])
    owned.callback(child.stop)
    probe = sidecar["startupProbe"]["httpGet"]
    assert probe["port"] == admin

    def ready():
        try:
            connection = http.client.HTTPConnection("127.0.0.1", probe["port"], timeout=wire.TIMEOUT)
            connection.request("GET", probe["path"])
            return connection.getresponse().status == 200
        except OSError:
            return False

    child.wait_until(ready)
    child.wait_line("^.* debug ")
    env = {entry["name"]: entry["value"] for entry in patched["spec"]["containers"][0]["env"]}
    code = ("import openai; m = [{'role': 'user', 'content': 'x'}]\n"
            "print(openai.OpenAI().chat.completions.create(model='gpt-4o', messages=m).choices[0].message.role)\n"
            "print(openai.AzureOpenAI(api_version='2024-10-21').chat.completions.create(model='gpt-4o', messages=m).choices[0].message.role)")
    done = subprocess.run([sys.executable, "-c", code], env={"PATH": os.environ["PATH"], **env}, capture_output=True, text=True, timeout=2 * wire.TIMEOUT)
    assert done.stdout.split() == ["assistant", "assistant"], done.stderr


def test_reload(owned, tmp_path, certificates):
    webhook = injector.Injector(tmp_path, certificates)
    owned.callback(webhook.stop)
    webhook.write(broken(revision="second", image="contoso.azurecr.io/postern:2.0.0", profiles=injector.SETTINGS["profiles"][:1],
                         namespaces=[{"name": "shop"}]))
    webhook.signal(signal.SIGHUP)
    webhook.wait_line("configuration .* in force")
    patch = json.dumps(injector.patch_of(webhook.call("/mutate", injector.review("Pod", POD))))
    assert "postern:2.0.0" in patch and '"second"' in patch
    webhook.write(profile(config="nonsense"))
    webhook.signal(signal.SIGHUP)
    webhook.wait_line("was refused")
    assert "postern:2.0.0" in json.dumps(injector.patch_of(webhook.call("/mutate", injector.review("Pod", POD))))


def test_certificates_rotate_under_load(owned, tmp_path, tmp_path_factory, certificates):
    """A new authority and certificate, as a Secret's update brings them: no review is lost on old or new connections."""
    folder = tmp_path / "secret"
    folder.mkdir()
    own = making.Files(folder / "ca.crt", folder / "tls.crt", folder / "tls.key")
    for source, target in zip(certificates, own):
        shutil.copy(source, target)
    webhook = injector.Injector(tmp_path, own)
    owned.callback(webhook.stop)
    fresh = making.make(tmp_path_factory.mktemp("fresh"))
    # As caBundle holds both during a rotation.
    both = tmp_path / "both.crt"
    both.write_text(certificates.ca.read_text() + fresh.ca.read_text())
    context = ssl.create_default_context(cafile=str(both))
    stop, done = threading.Event(), []

    def keep_asking(reconnect):
        connection = None
        while not stop.is_set():
            if connection is None:
                connection = webhook.connect_with(context)
            asked = injector.review("Pod", POD)
            connection.request("POST", "/mutate", json.dumps(asked), {"Content-Type": "application/json"})
            assert injector.patch_of(injector.judged(asked, json.loads(connection.getresponse().read())))
            done.append(1)
            if reconnect:
                connection.close()
                connection = None
        if connection:
            connection.close()
        return True

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        askers = [pool.submit(keep_asking, reconnect) for reconnect in (True, True, False, False)]
        try:
            webhook.wait_until(lambda: len(done) > 20)
            for source, target in ((fresh.key, own.key), (fresh.certificate, own.certificate)):
                shutil.copy(source, str(target) + ".new")
                (folder / (target.name + ".new")).rename(target)
            webhook.wait_line("new certificate in force")
            seen = len(done)
            webhook.wait_until(lambda: len(done) > seen + 20)
        finally:
            stop.set()
        assert all(asker.result() for asker in askers)
    # Who trusts only the new authority gets in now.
    webhook.certificates = making.Files(fresh.ca, own.certificate, own.key)
    assert webhook.call("/mutate", injector.review("Pod", POD))["allowed"] is True
