# SPDX-License-Identifier: Apache-2.0
"""SIGHUP: what is new is served, what runs goes on, and a configuration that is wrong changes nothing."""
import json
import os
import signal
import threading

import pytest
from harness import answers, wire

CHAT = "/v1/chat/completions"


def named(name):
    return lambda received, connection: connection.answer(200, answers.chat(name))


def ask(running, model="m"):
    with running.client() as client:
        answer = client.ask("POST", CHAT, answers.ask(model))
        return answer.status, json.loads(answer.body)


def text_of(answer):
    return answer[1]["choices"][0]["message"]["content"]


def reload(running, edit, says):
    """Edits the configuration, signals, and waits until standard error says `says`."""
    try:
        config = json.loads(running.config_path.read_text())
    except ValueError:
        config = None
    text = edit(config)
    beside = running.config_path.with_suffix(".new")
    beside.write_text(text if isinstance(text, str) else json.dumps(config, indent=1))
    os.replace(beside, running.config_path)
    before = "".join(running.stderr).count(says)
    running.signal(signal.SIGHUP)
    running.wait_until(lambda: "".join(running.stderr).count(says) > before)


LOADED, KEPT = " is in force\n", "the last good one stays in force\n"


def test_new_model_and_target(gateway, upstream):
    old, new = upstream(named("old")), upstream(named("new"))
    running = gateway(old, models=[{"name": "a", "targets": ["first"]}])
    assert ask(running, "b")[0] == 404

    def edit(config):
        config["targets"].append({"name": "added", "openai": {"url": f"{new.url}/v1"}})
        config["models"].append({"name": "b", "targets": ["added"]})

    reload(running, edit, LOADED)
    running.wait_until(lambda: ask(running, "b")[0] == 200)
    assert text_of(ask(running, "b")) == "new" and text_of(ask(running, "a")) == "old"


def test_target_that_goes_away(gateway, upstream):
    old, new = upstream(named("old")), upstream(named("new"))
    running = gateway(old)
    assert text_of(ask(running)) == "old"

    def edit(config):
        config["targets"] = [{"name": "second", "openai": {"url": f"{new.url}/v1"}}]
        config["models"] = [{"name": "*", "targets": ["second"]}]

    reload(running, edit, LOADED)
    running.wait_until(lambda: text_of(ask(running)) == "new")
    running.wait_until(lambda: all(line.endswith(" 0") for line in running.metrics().splitlines()
                                   if line.startswith('postern_pool_connections{target="first"')))


def test_running_stream_is_not_touched(gateway, upstream):
    proceed = threading.Event()

    def stream(_, connection):
        connection.start_stream()
        connection.piece(answers.chunk({"content": "before"}))
        assert proceed.wait(wire.TIMEOUT)
        connection.piece(answers.chunk({"content": "after"}) + answers.event("[DONE]"))
        connection.end()

    old, new = upstream(stream), upstream(named("new"))
    running = gateway(old)

    def edit(config):
        config["targets"] = [{"name": "second", "openai": {"url": f"{new.url}/v1"}}]
        config["models"] = [{"name": "*", "targets": ["second"]}]

    with running.client() as client:
        client.send(wire.request("POST", CHAT, answers.ask("m", stream=True)))
        client.head()
        body = client.chunk()
        reload(running, edit, LOADED)
        running.wait_until(lambda: text_of(ask(running)) == "new")
        proceed.set()
        body += client.chunked()
    assert b"before" in body and b"after" in body and body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("broken", ["{", "apiVersion: postern/v1\n", "tragets", "no such target", "empty"])
def test_broken_configuration_is_refused(gateway, upstream, broken):
    """Each problem is told with its place; the last good configuration stays in force, and a good one is taken afterwards."""
    running = gateway(upstream(named("good")))

    def edit(config):
        if broken == "tragets":
            config["tragets"] = []
        elif broken == "no such target":
            config["models"][0]["targets"] = [{"target": "nobody"}]
        else:
            return "" if broken == "empty" else broken
        return None

    good = running.config_path.read_text()
    reload(running, edit, KEPT)
    assert text_of(ask(running)) == "good"
    assert str(running.config_path) in "".join(running.stderr)
    reload(running, lambda config: good, LOADED)
    assert text_of(ask(running)) == "good"


def test_connections_to_a_target_that_stays_are_kept(gateway, upstream):
    server = upstream(named("same"))
    running = gateway(server)
    for number in range(4):
        assert text_of(ask(running)) == "same"
        reload(running, lambda config: None, LOADED)
    assert {received.connection for received in server.requests} == {1}


@pytest.mark.workers
def test_many_reloads_under_load(gateway, upstream):
    running = gateway(upstream(named("good")), workers=2)
    stop, statuses = threading.Event(), []

    def load():
        with running.client() as client:
            while not stop.is_set():
                statuses.append(client.ask("POST", CHAT, answers.ask()).status)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        reload(running, lambda config: None, LOADED)
    stop.set()
    for thread in threads:
        thread.join(wire.TIMEOUT)
    assert len(statuses) > 4 and set(statuses) == {200}
