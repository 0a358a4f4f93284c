# SPDX-License-Identifier: Apache-2.0
"""Configuration, secrets and certificates that change while the gateway runs: taken by themselves, or refused and told, and nothing cut."""
import json
import os
import re
import signal
import socket
import threading

import pytest
from harness import answers, authority as authorities, mount as mounts, process, wire

CHAT = "/v1/chat/completions"
IN_FORCE = "is in force\n"
REFUSED = "the last good one stays in force\n"


def named(name):
    return lambda received, connection: connection.answer(200, answers.chat(name))


def ask(running, model="m", port=None):
    with wire.Client(port or running.port) as client:
        answer = client.ask("POST", CHAT, answers.ask(model))
        return answer.status, json.loads(answer.body)


def text_of(running):
    return ask(running)[1]["choices"][0]["message"]["content"]


def said(running, text):
    return "".join(running.stderr).count(text)


def gauge(running, name):
    return float(re.search(rf"^{re.escape(name)} (\S+)$", running.metrics(), re.MULTILINE).group(1))


def generation(running):
    return gauge(running, "postern_config_generation")


def reloads(running, result):
    return gauge(running, f'postern_config_reloads_total{{result="{result}"}}')


def status(running, path):
    with wire.Stream(socket.socket(socket.AF_UNIX)) as stream:
        stream.sock.connect(str(path))
        stream.send(wire.request("GET", "/status"))
        head = stream.head()
        return json.loads(stream.exactly(int(head.get("content-length"))))["configuration"]


@pytest.fixture
def configmap(tmp_path):
    return mounts.Mount(tmp_path / "config")


@pytest.fixture
def living(gateway, configmap):
    """living(SERVER, ...): a gateway whose configuration is a mounted ConfigMap; `.change(edit)` updates that."""
    def start(*servers, **options):
        running = gateway(*servers, mount=configmap, **options)
        # The look that a start takes for what changed meanwhile is over.
        running.wait_until(lambda: reloads(running, "unchanged") >= 1)

        def put(text):
            configmap.swap({"postern.yaml": text})

        def change(edit, says=IN_FORCE):
            config = json.loads(running.config_text)
            edit(config)
            before = said(running, says)
            put(json.dumps(config, indent=1))
            running.wait_until(lambda: said(running, says) > before)

        running.put, running.change = put, change
        return running

    return start


def other_target(server):
    def edit(config):
        config["targets"] = [{"name": "second", "openai": {"url": f"{server.url}/v1"}}]
        config["models"] = [{"name": "*", "targets": ["second"]}]

    return edit


# ---- what is noticed ----

def test_configmap_is_swapped(living, upstream):
    old, new = upstream(named("old")), upstream(named("new"))
    running = living(old)
    assert text_of(running) == "old" and generation(running) == 1
    running.change(other_target(new))
    assert text_of(running) == "new" and generation(running) == 2


@pytest.mark.parametrize("way", ["in place", "renamed over", "removed and written", "a link that is turned"])
def test_single_file(gateway, upstream, way):
    """A file that is named itself, on a laptop or mounted from a ConfigMap under its own name."""
    old, new = upstream(named("old")), upstream(named("new"))
    running = gateway(old)
    running.wait_until(lambda: reloads(running, "unchanged") >= 1)
    path = running.config_path
    if way == "a link that is turned":
        real = path.with_suffix(".real")
        os.rename(path, real)
        path.symlink_to(real.name)
    config = json.loads(path.read_text())
    other_target(new)(config)
    beside = path.with_suffix(".new")
    if way == "in place":
        path.write_text(json.dumps(config))
    elif way == "removed and written":
        path.unlink()
        path.write_text(json.dumps(config))
    else:
        beside.write_text(json.dumps(config))
    if way == "renamed over":
        os.rename(beside, path)
    elif way == "a link that is turned":
        link = path.with_suffix(".link")
        link.symlink_to(beside.name)
        os.rename(link, path)
    running.wait_until(lambda: text_of(running) == "new")
    assert generation(running) == 2


def test_file_that_comes_to_a_directory(gateway, upstream, tmp_path):
    """A directory is read whole: a second file is a change, and so is its end."""
    folder = tmp_path / "parts"
    folder.mkdir()
    server = upstream(named("here"))
    running = gateway(server, models=[{"name": "a", "targets": ["first"]}])
    text = running.config_path.read_text()
    running.stop()
    (folder / "10-base.yaml").write_text(text)
    child = process.Process([process.binary(), "run", "--config", folder], env={"TARGET_KEY": "k"})
    try:
        child.wait_until(lambda: running.probe("/readyz") == 200)
        assert ask(running, "b")[0] == 404
        (folder / "20-more.yaml").write_text('models: [{name: b, targets: [first]}]\n')
        child.wait_until(lambda: ask(running, "b")[0] == 200)
        assert ask(running, "a")[0] == 200
        (folder / "20-more.yaml").unlink()
        child.wait_until(lambda: ask(running, "b")[0] == 404)
        (folder / "notes.txt").write_text("not ours")
        (folder / ".hidden.yaml").write_text("nonsense: [")
        (folder / "30-more.yaml").write_text('models: [{name: c, targets: [first]}]\n')
        child.wait_until(lambda: ask(running, "c")[0] == 200)
        assert said(child, REFUSED) == 0
    finally:
        child.stop()


def test_same_text_is_not_taken_again(living, upstream, configmap):
    """A touch, a new directory with the same content: read, compared, left."""
    old, new = upstream(named("old")), upstream(named("new"))
    running = living(old)
    before = reloads(running, "unchanged")
    os.utime(configmap.file("postern.yaml"))
    running.wait_until(lambda: reloads(running, "unchanged") > before)
    before = reloads(running, "unchanged")
    running.put(running.config_text)
    running.wait_until(lambda: reloads(running, "unchanged") > before)
    assert generation(running) == 1 and said(running, IN_FORCE) == 0
    running.change(other_target(new))
    assert generation(running) == 2 and text_of(running) == "new"


def test_hangup_takes_the_same_text(living, upstream):
    """Who sends SIGHUP wants it read, and everything behind it too."""
    running = living(upstream(named("old")))
    running.signal(signal.SIGHUP)
    running.wait_until(lambda: generation(running) == 2)


# ---- what is refused ----

@pytest.mark.parametrize("broken", ["{", "tragets", "gone", "secret"])
def test_refused_and_told(living, upstream, tmp_path, configmap, broken):
    control = tmp_path / "control.sock"
    old, new = upstream(named("old")), upstream(named("new"))
    running = living(old, admin={"control": f"unix:{control}"})
    assert status(running, control)["refused"] is False
    config = json.loads(running.config_text)
    config["tragets"] = []
    if broken == "secret":
        del config["tragets"]
        config["targets"][0]["credential"] = {"api_key": {"file": str(tmp_path / "key")}}
    running_before = reloads(running, "refused")
    if broken == "gone":
        configmap.swap({"other.txt": ""})
    else:
        running.put(json.dumps(config) if broken in ("tragets", "secret") else broken)
    running.wait_until(lambda: said(running, REFUSED) == 1)
    assert text_of(running) == "old" and generation(running) == 1
    assert gauge(running, "postern_config_last_reload_successful") == 0 and reloads(running, "refused") == running_before + 1
    now = status(running, control)
    assert now["refused"] is True and now["errors"] and now["generation"] == 1 and now["refused_at"] >= now["loaded_at"]
    place = str(configmap.folder) if broken == "gone" else f"{configmap.folder}/postern.yaml:"
    assert any(line.startswith(place) for line in now["errors"]) and place in "".join(running.stderr)
    if broken == "secret":
        # The text is as it was; what it named has come.
        (tmp_path / "key").write_text("at last")
        running.wait_until(lambda: generation(running) == 2)
        assert text_of(running) == "old"
        assert dict(old.requests[-1].headers)["authorization"] == "Bearer at last"
    else:
        running.change(other_target(new))
        assert text_of(running) == "new" and generation(running) == 2
    assert gauge(running, "postern_config_last_reload_successful") == 1 and status(running, control)["refused"] is False


def test_back_to_what_is_in_force(living, upstream):
    running = living(upstream(named("old")))
    running.put("{")
    running.wait_until(lambda: said(running, REFUSED) == 1)
    running.put(running.config_text)
    running.wait_until(lambda: said(running, "again the one in force") == 1)
    assert generation(running) == 1 and gauge(running, "postern_config_last_reload_successful") == 1


def test_each_refusal_is_told_once(living, upstream, configmap):
    running = living(upstream(named("old")))
    running.put("{")
    running.wait_until(lambda: said(running, REFUSED) == 1)
    running.put("{")
    os.utime(configmap.file("postern.yaml"))
    running.put("tragets: []")
    running.wait_until(lambda: said(running, REFUSED) == 2)
    running.change(lambda config: config.update(log={"level": "debug", "access": str(running.access_path)}))
    assert said(running, REFUSED) == 2


# ---- listeners ----

def test_listeners_come_and_go(living, upstream):
    proceed = threading.Event()

    def stream(received, connection):
        if not json.loads(received.body).get("stream"):
            connection.answer(200, answers.chat("here"))
            return
        connection.start_stream()
        connection.piece(answers.chunk({"content": "before"}))
        assert proceed.wait(wire.TIMEOUT)
        connection.piece(answers.chunk({"content": "after"}) + answers.event("[DONE]"))
        connection.end()

    running, port = living(upstream(stream)), process.free_port()

    def second(config):
        config["listeners"].append({"name": "second", "address": f"127.0.0.1:{port}"})

    running.change(second)
    assert ask(running, port=port)[0] == 200 and ask(running)[0] == 200
    with wire.Client(port) as client, wire.Client(port) as idle:
        assert idle.ask("POST", CHAT, answers.ask()).status == 200
        client.send(wire.request("POST", CHAT, answers.ask(stream=True)))
        client.head()
        body = client.chunk()
        running.change(lambda config: None)
        assert idle.is_closed()
        with pytest.raises(ConnectionRefusedError):
            wire.Client(port)
        assert ask(running)[0] == 200
        proceed.set()
        body += client.chunked()
        assert b"before" in body and b"after" in body and body.endswith(b"data: [DONE]\n\n")
        assert client.is_closed()
    running.change(second)
    assert ask(running, port=port)[0] == 200


def test_listener_moves_and_changes_its_filters(living, upstream):
    """An address that stays keeps its connections, by whatever name; they are served as the new text says."""
    server = upstream(named("here"))
    running, port = living(server), process.free_port()

    def renamed(config):
        config["filters"] = {"headers": {"request": {"set": {"x-team": "search"}}}}
        config["listeners"] = [{"name": "other", "address": f"127.0.0.1:{running.port}", "filters": ["headers"]},
                               {"name": "more", "address": f"127.0.0.1:{port}"}]

    with running.client() as client:
        assert client.ask("POST", CHAT, answers.ask()).status == 200
        running.change(renamed)
        assert client.ask("POST", CHAT, answers.ask()).status == 200
    assert ("x-team", "search") in server.requests[-1].headers and ("x-team", "search") not in server.requests[0].headers
    running.access(2)
    assert [line["listener"] for line in running.access(2)][-1] == "other"


def test_admin_address_moves(living, upstream):
    running, port = living(upstream(named("here"))), process.free_port()
    old = running.admin

    def moved(config):
        config["admin"]["address"] = f"127.0.0.1:{port}"

    before = said(running, IN_FORCE)
    config = json.loads(running.config_text)
    moved(config)
    running.put(json.dumps(config))
    running.wait_until(lambda: said(running, IN_FORCE) > before)
    running.admin = port
    assert running.probe("/readyz") == 200
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", old), timeout=wire.TIMEOUT).close()


@pytest.mark.workers
@pytest.mark.parametrize("workers", [1, 2])
def test_address_widens_and_narrows(living, upstream, workers):
    """127.0.0.1 and 0.0.0.0 with the same port overlap; the new one is open before the old one closes, so nobody is refused."""
    running = living(upstream(named("here")), workers=workers)

    def address(host):
        def change(config):
            config["listeners"][0] |= {"address": f"{host}:{running.port}", "anonymous": True}
            config["admin"]["address"] = f"{host}:{running.admin}"
        return change

    for host in ("0.0.0.0", "127.0.0.1", "0.0.0.0"):
        with running.client() as waiting:
            running.change(address(host))
            assert waiting.ask("POST", CHAT, answers.ask()).status == 200
        for _ in range(4 * workers):
            assert ask(running)[0] == 200 and running.probe("/readyz") == 200


def test_tls_comes_to_a_listener(living, upstream, certificates):
    import ssl
    running = living(upstream(named("here")))

    def secure(config):
        config["listeners"][0]["tls"] = {"certificate": str(certificates.certificate), "key": str(certificates.key)}

    running.change(secure)
    context = ssl.create_default_context(cafile=str(certificates.ca))
    with socket.create_connection(("127.0.0.1", running.port), timeout=wire.TIMEOUT) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as sock:
            stream = wire.Stream(sock)
            stream.send(wire.request("POST", CHAT, answers.ask()))
            assert stream.head().status == 200
    running.change(lambda config: None)
    assert ask(running)[0] == 200


def test_address_that_is_taken(living, upstream):
    """Refused as a whole, with the place; taken when the address is free and the text is touched."""
    server = upstream(named("here"))
    running = living(server)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        def second(config):
            config["listeners"].append({"address": f"127.0.0.1:{port}"})
            config["models"].append({"name": "more", "targets": ["first"]})

        running.change(lambda config: second(config), says=REFUSED)
        assert generation(running) == 1 and f"127.0.0.1:{port}" in "".join(running.stderr)
        assert ask(running)[0] == 200
    running.change(lambda config: second(config))
    assert ask(running, port=port)[0] == 200


@pytest.mark.workers
def test_what_needs_a_restart_is_named(living, upstream):
    old, new = upstream(named("old")), upstream(named("new"))
    running = living(old, workers=2)

    def more(config):
        other_target(new)(config)
        config["workers"] = 4

    running.change(more)
    assert re.search(r'"workers" of configuration cannot be changed by a reload', "".join(running.stderr))
    running.wait_until(lambda: text_of(running) == "new")
    assert gauge(running, "postern_workers") == 2


# ---- secrets ----

def test_key_of_a_target_in_a_mounted_secret(living, upstream, tmp_path):
    server = upstream(named("here"))
    secret = mounts.Mount(tmp_path / "secret", key="first-key")

    def edit(targets):
        targets[0]["credential"] = {"api_key": {"file": str(secret.file("key"))}}

    running = living(server, edit=edit)
    for value in ("second-key", "third-key"):
        secret.swap({"key": value})
        running.wait_until(lambda: ask(running)[0] == 200 and
                           dict(server.requests[-1].headers)["authorization"] == f"Bearer {value}")
    assert "third-key" not in running.output()


def test_wrong_client_secret_is_tried_when_it_changes(living, upstream, owned, tmp_path):
    """After a wrong one the authority is left alone for a minute and more, but not when the file is another."""
    issuer = authorities.Authority()
    owned.callback(issuer.close)
    secret = mounts.Mount(tmp_path / "secret", value="wrong")

    def handle(received, connection):
        believed = issuer.believes(received)
        connection.answer(200 if believed else 401, answers.chat("served"))

    def edit(targets):
        targets[0]["credential"] = {"client_secret": {
            "tenant": authorities.TENANT, "client_id": authorities.CLIENT_ID, "authority": issuer.url,
            "secret": {"file": str(secret.file("value"))}}}

    running = living(upstream(handle), edit=edit)
    running.wait_line("AADSTS7000215")
    assert ask(running)[0] == 502
    secret.swap({"value": "wrong too"})
    running.wait_until(lambda: len(issuer.asked) >= 2)
    secret.swap({"value": authorities.SECRET})
    running.wait_until(lambda: ask(running)[0] == 200)
    assert authorities.SECRET not in running.output()


# ---- versions ----

def test_newer_configuration_for_an_older_program(living, upstream):
    """What it does not know it leaves out and says so; what is known changes all the same."""
    old, new = upstream(named("old")), upstream(named("new"))
    running = living(old)

    def newer(config):
        other_target(new)(config)
        config["apiVersion"] = "postern/v1.999"
        config["limits"] = {"elbow_room": "3 yards"}
        config["targets"][0]["telepathy"] = {"distance": 7}

    running.change(newer)
    assert text_of(running) == "new"
    warned = [line for line in running.stderr if "elbow_room" in line or "telepathy" in line]
    assert len(warned) == 2 and all("postern.yaml:" in line for line in warned)
    done = process.postern("check", running.config_path, env={**os.environ, "TARGET_KEY": "k"})
    assert done.returncode == 1 and "elbow_room" in done.stderr


def test_unknown_settings_of_the_own_version_are_refused(living, upstream):
    running = living(upstream(named("old")))
    running.change(lambda config: config.update(limits={"elbow_room": 1}), says=REFUSED)
    assert text_of(running) == "old"


@pytest.mark.parametrize("version", ["postern/v2", "postern/v2.1", "postern/v0", "postern", "v1"])
def test_another_major_version_is_refused(living, upstream, version):
    running = living(upstream(named("old")))
    running.change(lambda config: config.update(apiVersion=version), says=REFUSED)
    assert text_of(running) == "old" and '"apiVersion"' in "".join(running.stderr)


@pytest.mark.parametrize("version", ["postern/v1", "postern/v1.0"])
def test_older_configuration_for_a_newer_program(living, upstream, version):
    """Version 1.0 is served by every Postern of version 1."""
    running = living(upstream(named("old")))
    running.change(lambda config: config.update(apiVersion=version, log={"level": "debug", "access": str(running.access_path)}))
    assert text_of(running) == "old"
