# SPDX-License-Identifier: Apache-2.0
"""Start, probes, the access log, and the end: drain without a lost request, and nothing secret written anywhere."""
import json
import os
import resource
import signal
import threading

import pytest
from harness import answers, process, wire
from harness.process import CANARY_ANSWER, CANARY_CLIENT_KEY, CANARY_PROMPT

CHAT = "/v1/chat/completions"


def fine(_, connection):
    connection.answer(200, answers.chat())


def test_probes(gateway, upstream):
    running = gateway(upstream(lambda *_: None))
    assert running.probe("/healthz") == 200 and running.probe("/readyz") == 200 and running.probe("/nothing") == 404


def test_admin_address_changes_nothing(gateway, upstream):
    running = gateway(upstream(lambda *_: None))
    with wire.Client(running.admin) as client:
        assert client.ask("POST", "/metrics", "{}").status == 405


def test_drain(gateway, upstream):
    """SIGTERM: no longer ready, the stream under way is served to its end, then a clean exit."""
    proceed = threading.Event()

    def handle(_, connection):
        connection.start_stream()
        connection.piece(answers.chunk({"content": "before"}))
        assert proceed.wait(wire.TIMEOUT)
        connection.piece(answers.chunk({"content": "after"}))
        connection.piece(answers.event("[DONE]"))
        connection.end()

    server = upstream(handle)
    running = gateway(server, drain={"delay": "0s", "grace": "20s"})
    with running.client() as client, running.client() as idle:
        client.send(wire.request("POST", CHAT, answers.ask(stream=True)))
        client.head()
        body = client.chunk()
        running.signal(signal.SIGTERM)
        # An idle connection is closed: that is how the test knows that the drain has begun.
        assert idle.is_closed()
        assert running.probe("/readyz") != 200
        proceed.set()
        body += client.chunked()
        assert b"before" in body and b"after" in body and body.endswith(b"data: [DONE]\n\n")
        assert client.is_closed()
    running.stop()


def test_drain_delay_keeps_the_door_open(gateway, upstream):
    """Unready first, while requests that are still sent here are served."""
    running = gateway(upstream(fine), drain={"delay": "1s", "grace": "5s"})
    running.signal(signal.SIGTERM)
    running.wait_until(lambda: running.probe("/readyz") == 503)
    with running.client() as client:
        assert client.ask("POST", CHAT, answers.ask()).status == 200
    running.stop()


def test_grace_period_ends(gateway, upstream):
    """A stream that outlives the grace period is cut, and the process still ends well."""
    def endless(_, connection):
        connection.start_stream()
        connection.piece(answers.chunk({"content": "x"}))
        connection.is_closed()

    server = upstream(endless)
    running = gateway(server, drain={"delay": "0s", "grace": "1s"})
    with running.client() as client:
        client.send(wire.request("POST", CHAT, answers.ask(stream=True)))
        client.head()
        running.signal(signal.SIGTERM)
        client.to_end()
    running.stop()


def test_access_log(gateway, upstream):
    def handle(_, connection):
        connection.answer(200, answers.chat(CANARY_ANSWER, model="served-name"), [("x-request-id", "upstream-id")])

    running = gateway(upstream(handle))
    with running.client() as client:
        answer = client.ask("POST", CHAT, answers.ask(text=CANARY_PROMPT), [("authorization", f"Bearer {CANARY_CLIENT_KEY}")])
        client.ask("POST", CHAT, '{"model": "x", "broken')
    first, second = running.access(2)
    assert first["status"] == 200 and second["status"] == 400
    flat = json.dumps(first)
    assert answer.get("x-request-id") in flat and '"gpt-4o"' in flat and '"first"' in flat
    assert str(answers.USAGE["prompt_tokens"]) in flat and str(answers.USAGE["completion_tokens"]) in flat
    assert "malformed_body" in json.dumps(second).lower()


def test_nothing_secret_is_written(gateway, upstream):
    """Prompts, answers and credentials, through success, failure and a cut stream, at the most talkative log level."""
    def handle(received, connection):
        wish = json.loads(received.body)["messages"][0]["content"]
        if "stream" in wish:
            connection.start_stream()
            connection.piece(answers.chunk({"content": CANARY_ANSWER}))
            connection.close()
        elif "fail" in wish:
            connection.answer(500, answers.error(f"{CANARY_ANSWER} {wish}"))
        else:
            connection.answer(200, answers.chat(CANARY_ANSWER))

    def asked(text, **more):
        return wire.request("POST", f"{CHAT}?api-key={CANARY_CLIENT_KEY}", answers.ask(text=f"{CANARY_PROMPT} {text}", **more),
                            [("authorization", f"Bearer {CANARY_CLIENT_KEY}"), ("api-key", CANARY_CLIENT_KEY)])

    running = gateway(upstream(handle), log={"level": "debug", "access": "-"})
    for request in (asked("fine"), asked("stream", stream=True), asked("fail"), asked("broken")[:-3] + b"}}}",
                    asked("fine").replace(b"HTTP/1.1", b"HTTP/9.9")):
        with running.client() as client:
            client.send(request)
            client.answer("POST")
    # Gateway.stop() looks through everything that was written.
    running.stop()
    assert "status" in "".join(running.stdout)


def test_metrics_count(gateway, upstream):
    running = gateway(upstream(fine))
    with running.client() as client:
        for _ in range(3):
            client.ask("POST", CHAT, answers.ask())
    running.access(3)
    metrics = running.metrics()
    for name in ("gen_ai", "token", "# TYPE", "# HELP"):
        assert name in metrics
    names = {line.split()[2] for line in metrics.splitlines() if line.startswith("# TYPE")}
    assert len(names) == sum(1 for line in metrics.splitlines() if line.startswith("# TYPE")), "a family is there twice"


def test_port_in_use_is_an_error(gateway, upstream, tmp_path):
    """Two processes must not share a port by accident, although workers do on purpose."""
    running = gateway(upstream(lambda *_: None))
    text = running.config_path.read_text().replace(str(running.admin), str(process.free_port()))
    path = tmp_path / "second.yaml"
    path.write_text(text)
    done = process.postern("run", "--config", path, env={**os.environ, "TARGET_KEY": "x"})
    assert done.returncode == 1 and str(running.port) in done.stderr


@pytest.mark.workers
def test_workers_share_a_port(gateway, upstream):
    running = gateway(upstream(fine), workers=4)
    for _ in range(40):
        with running.client() as client:
            assert client.ask("POST", CHAT, answers.ask()).status == 200
    running.access(40)
    assert running.probe("/metrics") == 200


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become a user with a limit on threads")
def test_worker_without_a_thread_is_an_error(gateway, upstream, tmp_path):
    """Its share of the connections would never be answered, so nobody serves."""
    def nobody():
        os.setgroups([])
        os.setgid(54321)
        os.setuid(54321)
        resource.setrlimit(resource.RLIMIT_NPROC, (2, 2))

    running = gateway(upstream(fine), workers=4)
    running.stop()
    path = tmp_path / "few.yaml"
    path.write_text(running.config_path.read_text().replace(str(running.access_path), "-"))
    path.chmod(0o644)
    # By its descriptor, since that user may not enter the folder; and the look for leaks wants a thread, too.
    with open(path, encoding="utf-8") as config:
        done = process.postern("run", "--config", f"/proc/self/fd/{config.fileno()}", pass_fds=[config.fileno()], preexec_fn=nobody,
                               env={**os.environ, "TARGET_KEY": "x", "ASAN_OPTIONS": "detect_leaks=0"})
    assert done.returncode == 1 and "no thread for worker" in done.stderr, done


@pytest.mark.workers
def test_stop_under_load(gateway, upstream):
    """Every request that was accepted is answered while several workers drain."""
    running = gateway(upstream(fine), workers=2, drain={"delay": "0s", "grace": "20s"})
    results, begun = [], threading.Semaphore(0)

    def ask():
        with running.client() as client:
            while True:
                try:
                    answer = client.ask("POST", CHAT, answers.ask())
                except (wire.Closed, ConnectionError):
                    return
                results.append(answer.status)
                begun.release()
                if answer.get("connection") == "close":
                    return

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for _ in range(30):
        assert begun.acquire(timeout=wire.TIMEOUT)
    running.signal(signal.SIGTERM)
    for thread in threads:
        thread.join(wire.TIMEOUT)
        assert not thread.is_alive()
    assert set(results) == {200}
    running.stop()
