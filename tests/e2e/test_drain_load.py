# SPDX-License-Identifier: Apache-2.0
"""
The end under load: every request that a client could send is answered, streams finish within the grace period or are told, and the
process ends with 0 in time. The figures reached are printed (pytest -s); tests/bench/living.py takes them at full size.
"""
import json
import os
import pathlib
import re
import signal
import socket
import time

import pytest
from harness import answers, crowd as crowds, mount as mounts, process, wire

CHAT = "/v1/chat/completions"


@pytest.fixture
def models(mock):
    """Three models: m answers at once, short streams for two seconds, endless for longer than any grace period here."""
    ports = {"m": mock("--chunks", 3), "short": mock("--chunk-interval", "100ms", "--chunks", 20),
             "endless": mock("--chunk-interval", "200ms", "--chunks", 600)}
    return {"targets": [{"name": name, "openai": {"url": f"{child.url}/v1"}} for name, child in ports.items()],
            "models": [{"name": name, "targets": [name]} for name in ports]}


@pytest.fixture
def crowd(owned):
    def gather(running, **options):
        made = crowds.Crowd(running.port, **options)
        owned.callback(made.close)
        return made

    return gather


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.workers
def test_sigterm_under_load(gateway, models, crowd, workers):
    running = gateway(workers=workers, drain={"delay": "1s", "grace": "5s"}, **models)
    busy = crowd(running, clients=8, rate=100, streams=20, stream_model="short")
    patient = crowd(running, streams=10, stream_model="endless")
    busy.ready()
    patient.ready()
    for one in (busy, patient):
        one.leave()
    before = time.monotonic()
    running.signal(signal.SIGTERM)
    answered, told = busy.result(), patient.result()
    running.stop()
    print(f"\n{workers} workers, ended in {time.monotonic() - before:.1f} s: {answered} {told}")
    assert answered["failures"] == 0 and set(answered["statuses"]) == {"200"} and set(answered["streams"]) == {"complete"}
    assert answered["closes"] > 0, "answers ask their clients to leave"
    assert told["failures"] == 0 and told["streams"] == {"told": 10}


def test_last_event_can_be_tried_again(gateway, models):
    """What ends a stream at the end of the grace period is an error event as an SDK reads it, and the end of the message."""
    running = gateway(drain={"delay": "0s", "grace": "1s"}, **models)
    with running.client() as client:
        client.send(wire.request("POST", CHAT, answers.ask("endless", stream=True)))
        client.head()
        body = client.chunk()
        running.signal(signal.SIGTERM)
        body += client.chunked()
        assert client.is_closed()
    last = body.split(b"\n\n")[-2]
    assert last.startswith(b"data: ") and b"[DONE]" not in body
    error = json.loads(last.removeprefix(b"data: "))["error"]
    assert error["type"] == "server_error" and error["code"] == "draining"
    running.stop()


def test_second_signal_hurries(gateway, models):
    running = gateway(drain={"delay": "0s", "grace": "600s"}, **models)
    with running.client() as client, running.client() as idle:
        client.send(wire.request("POST", CHAT, answers.ask("endless", stream=True)))
        client.head()
        client.chunk()
        running.signal(signal.SIGTERM)
        assert idle.is_closed()
        running.signal(signal.SIGINT)
        assert b'"draining"' in client.chunked()
    running.stop()


def test_who_has_just_connected_is_served(gateway, models):
    """Connections in the kernel's queue and such that have said nothing yet, when the listener closes."""
    running = gateway(drain={"delay": "0s", "grace": "10s"}, **models)
    with running.client() as idle, running.client() as fresh:
        assert idle.ask("POST", CHAT, answers.ask("m")).status == 200
        running.signal(signal.SIGTERM)
        assert idle.is_closed()
        answer = fresh.ask("POST", CHAT, answers.ask("m"))
        assert answer.status == 200 and answer.get("connection") == "close" and fresh.is_closed()
        with pytest.raises(ConnectionRefusedError):
            running.client()
    running.stop()


def post_drain(path):
    with wire.Stream(socket.socket(socket.AF_UNIX)) as stream:
        stream.sock.connect(str(path))
        stream.send(wire.request("POST", "/drain"))
        return stream.head().status


@pytest.mark.parametrize("how", ["request", "command", "command with its configuration"])
def test_drain_of_a_job(gateway, models, tmp_path, how):
    """A plain container beside a Job's is ended by the Job itself, through the control socket."""
    control = tmp_path / "control.sock"
    running = gateway(admin={"control": f"unix:{control}"}, drain={"delay": "0s", "grace": "20s"}, **models)
    with running.client() as client:
        client.send(wire.request("POST", CHAT, answers.ask("short", stream=True)))
        client.head()
        client.chunk()
        if how == "request":
            assert post_drain(control) == 202
        else:
            way = ("--control", f"unix:{control}") if how == "command" else ("--config", running.config_path)
            done = process.postern("drain", *way)
            assert done.returncode == 0 and done.stderr == "", done.stderr
        assert client.chunked().endswith(b"data: [DONE]\n\n")
    assert running.finish() == 0


def test_signal_after_a_drain_hurries_nobody(gateway, models, tmp_path):
    """A preStop hook drains, and the kubelet's SIGTERM follows it: what is under way goes on. The next one is the second."""
    control = tmp_path / "control.sock"
    running = gateway(admin={"control": f"unix:{control}"}, drain={"delay": "0s", "grace": "20s"}, **models)
    with running.client() as client, running.client() as late, running.client() as idle:
        for each, model in ((client, "short"), (late, "endless")):
            each.send(wire.request("POST", CHAT, answers.ask(model, stream=True)))
            each.head()
            each.chunk()
        assert post_drain(control) == 202
        assert idle.is_closed()
        running.signal(signal.SIGTERM)
        assert client.chunked().endswith(b"data: [DONE]\n\n")
        running.signal(signal.SIGINT)
        assert b'"draining"' in late.chunked()
    assert running.finish() == 0


def test_drain_command_says_what_is_wrong(tmp_path, gateway, models):
    running = gateway(**models)
    for arguments, code, says in ((("--control", f"unix:{tmp_path}/nobody"), 1, "nobody"), (("--control", "127.0.0.1:1"), 2, "unix:"),
                                  (("--config", running.config_path), 1, "admin.control"), ((), 2, "--control"),
                                  (("--config", tmp_path / "none.yaml"), 1, "none.yaml")):
        done = process.postern("drain", *arguments)
        assert done.returncode == code and says in done.stderr, (arguments, done)


# ---- a configuration that changes under load ----

ROUNDS = 100


def flat_memory():
    """AddressSanitizer keeps what is freed for a while; for this only a little of it."""
    return {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1:thread_local_quarantine_size_kb=64"}


def resident(running):
    text = pathlib.Path(f"/proc/{running.child.pid}/status").read_text()
    return int(re.search(r"^VmRSS:\s+(\d+)", text, re.MULTILINE).group(1))


def test_hundred_swaps_under_load(gateway, models, crowd, tmp_path):
    """kubelet's swap of the mounted directory, a broken text in every tenth, while streams run and requests come."""
    mounted = mounts.Mount(tmp_path / "config")
    running = gateway(mount=mounted, env=flat_memory(), **models)
    whole = json.loads(running.config_text)
    crowded = crowd(running, clients=6, rate=100, streams=40, stream_model="endless")
    crowded.ready()
    taken, held, seconds = 1, {}, []
    for number in range(1, ROUNDS + 1):
        broken = number % 10 == 0
        config = {**whole, "models": [*whole["models"], {"name": f"more-{number}", "targets": ["m"]}]}
        said = [f"configuration {taken + 1} is in force\n", "the last good one stays in force\n"][broken]
        before, began = "".join(running.stderr).count(said), time.monotonic()
        # A broken text is another one each time: what was said already is not said again.
        mounted.swap({"postern.yaml": f"wrong-{number}: 1" if broken else json.dumps(config)})
        running.wait_until(lambda: "".join(running.stderr).count(said) > before)
        seconds.append(time.monotonic() - began)
        taken += 0 if broken else 1
        if number % 10 == 9:
            held[number] = resident(running)
    with running.client() as client:
        assert client.ask("POST", CHAT, answers.ask(f"more-{ROUNDS - 1}")).status == 200
    result = crowded.stop()
    print(f"\n{ROUNDS} swaps, each seen after {1000 * sorted(seconds)[ROUNDS // 2]:.0f} ms, {1000 * max(seconds):.0f} ms at most; "
          f"resident KiB {held}; {result}")
    assert result["failures"] == 0 and set(result["statuses"]) == {"200"} and set(result["streams"]) == {"left"}
    assert held[99] < held[49] + 16 * 1024, held
