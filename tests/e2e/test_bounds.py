# SPDX-License-Identifier: Apache-2.0
"""Limits and time limits, as clients and targets meet them."""
import contextlib
import json
import pathlib
import threading

import pytest
from harness import answers, h2, wire

CHAT = "/v1/chat/completions"
MEGABYTE = 1 << 20


def fine(_, connection):
    connection.answer(200, answers.chat())


def code(answer):
    return json.loads(answer.body)["error"]["code"]


def head_only(*fields):
    return wire.request("POST", CHAT, headers=[("content-type", "application/json"), *fields])


# ---- amounts ----


@pytest.mark.parametrize("limits, fields, good", [
    ({"header_bytes": "4KiB"}, [("x-big", "y" * 3500)], True), ({"header_bytes": "4KiB"}, [("x-big", "y" * 4100)], False),
    ({"header_count": 20}, [(f"x-{number}", "y") for number in range(15)], True),
    ({"header_count": 20}, [(f"x-{number}", "y") for number in range(25)], False)])
def test_header(gateway, upstream, limits, fields, good):
    with gateway(upstream(fine), limits=limits).client() as client:
        answer = client.ask("POST", CHAT, answers.ask(), fields)
    assert (answer.status, good) == (200, True) or (answer.status, code(answer), good) == (431, "header_too_large", False)


@pytest.mark.parametrize("how", ["length", "chunked"])
def test_body(gateway, upstream, how):
    """The length alone is enough to refuse; without one the limit itself."""
    server = upstream(fine)
    with gateway(server, limits={"body": "16KiB"}).client() as client:
        if how == "length":
            client.send(head_only(("content-length", "16385"), ("expect", "100-continue")))
        else:
            client.send(head_only(("transfer-encoding", "chunked")) + b"4001\r\n" + b" " * 0x4001)
        answer = client.answer("POST")
    assert answer.status == 413 and code(answer) == "request_too_large" and not server.requests


def test_held_bytes(gateway, upstream):
    """All bodies under way together are bounded: who comes too late waits, then gets 503; what is given back serves the next."""
    running = gateway(upstream(fine), limits={"held": "1MiB", "body": "1MiB"})
    body = answers.ask(text="x" * (700 * 1024)).encode()
    with running.client() as first, running.client() as second, running.client() as third:
        first.send(head_only(("content-length", str(len(body)))) + body[:-1])
        running.wait_until(lambda: int(running.metrics().split("\npostern_held_bytes ")[1].split()[0]) > 600 * 1024)
        second.send(head_only(("content-length", str(len(body)))) + body)
        answer = second.answer("POST")
        assert answer.status == 503 and code(answer) == "overloaded"
        first.send(body[-1:])
        assert first.answer("POST").status == 200
        assert third.ask("POST", CHAT, body).status == 200
    running.wait_until(lambda: "\npostern_held_bytes 0\n" in running.metrics())


def test_uploads_that_announce_and_wait(gateway, upstream):
    """A body counts as it comes: a crowd that announces much and sends little keeps nobody waiting."""
    running = gateway(upstream(fine), limits={"held": "8MiB", "body": "4MiB"})
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            idle = stack.enter_context(running.client())
            idle.send(head_only(("content-length", str(4 << 20))) + b'{"model": "gpt-4o", ' + b" " * 1000)
        running.wait_until(lambda: f"\npostern_held_bytes {20 * 65536}\n" in running.metrics())
        with running.client() as client:
            for _ in range(3):
                assert client.ask("POST", CHAT, answers.ask(text="x" * (3 << 20))).status == 200
    running.wait_until(lambda: "\npostern_held_bytes 0\n" in running.metrics())


def test_connections(gateway, upstream):
    """Further ones wait in the kernel, unserved and unharmed, until there is room."""
    running = gateway(upstream(fine), limits={"connections": 4})
    clients = [running.client() for _ in range(3)]
    for client in clients:
        assert client.ask("POST", CHAT, answers.ask()).status == 200
    with running.client() as fourth, running.client() as fifth:
        fourth.send(wire.request("POST", CHAT, answers.ask()))
        fifth.send(wire.request("POST", CHAT, answers.ask()))
        for client in clients:
            client.close()
        assert fourth.answer("POST").status == fifth.answer("POST").status == 200


# ---- time limits towards clients ----


@pytest.mark.parametrize("beginning", [b"P", b"POST /v1/chat", b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"])
def test_header_timeout(gateway, upstream, beginning):
    with gateway(upstream(fine), timeouts={"header": "300ms"}).client() as client:
        client.send(beginning)
        answer = client.answer("POST")
        assert answer.status == 408 and code(answer) == "request_timeout" and client.is_closed()


def test_body_timeout(gateway, upstream):
    with gateway(upstream(fine), timeouts={"body": "300ms"}).client() as client:
        client.send(head_only(("content-length", "100")) + b"{")
        answer = client.answer("POST")
        assert answer.status == 408 and code(answer) == "request_timeout" and client.is_closed()


def test_idle_timeout(gateway, upstream):
    running = gateway(upstream(fine), timeouts={"idle": "300ms"})
    with running.client() as client, running.client() as silent:
        assert client.ask("POST", CHAT, answers.ask()).status == 200
        assert client.is_closed() and silent.is_closed()


# ---- time limits towards targets ----


@pytest.fixture
def patient(gateway, upstream):
    """patient(handler, **timeouts): a gateway whose one target has these time limits."""
    def start(handler, **timeouts):
        def edit(targets):
            targets[0]["timeouts"] = timeouts

        return gateway(upstream(handler), edit=edit)

    return start


def silent(_, connection):
    assert connection.is_closed()


def test_first_byte(patient):
    with patient(silent, first_byte="200ms").client() as client:
        answer = client.ask("POST", CHAT, answers.ask())
    assert answer.status == 504 and code(answer) == "upstream_timeout" and answer.get("x-should-retry") == "false"


def test_sdk_read_timeout(patient):
    """The SDK tells how long it will wait: longer would be for nobody."""
    with patient(silent).client() as client:
        answer = client.ask("POST", CHAT, answers.ask(), [("x-stainless-read-timeout", "0.3")])
    assert answer.status == 504 and code(answer) == "upstream_timeout"


@pytest.mark.parametrize("path, body, last", [
    (CHAT, answers.ask(stream=True), "error"), ("/v1/responses", '{"model":"m","input":"x","stream":true,"store":false}', "type")])
def test_idle_in_a_stream(patient, path, body, last):
    def stalls(_, connection):
        connection.start_stream()
        connection.piece(answers.chunk({"content": "begun"}) if path == CHAT else
                         'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","sequence_number":1,"delta":"begun"}\n\n')
        assert connection.is_closed()

    running = patient(stalls, idle="300ms")
    with running.client() as client:
        answer = client.ask("POST", path, body)
    assert answer.status == 200 and b"begun" in answer.body and b"[DONE]" not in answer.body
    event = json.loads(answer.body.decode().rstrip().rsplit("data: ", 1)[1])
    assert last in event and "upstream_idle_timeout" in json.dumps(event)
    assert running.access(1)[0]["fault"] == "IDLE_TIMEOUT"


def test_idle_in_a_whole_answer(patient):
    """Its length has been promised: nothing but the end of the connection can tell."""
    def stalls(_, connection):
        connection.start(200, [("content-type", "application/json"), ("content-length", "100")])
        connection.send("{")
        assert connection.is_closed()

    running = patient(stalls, idle="300ms")
    with running.client() as client:
        client.send(wire.request("POST", CHAT, answers.ask()))
        assert client.head().status == 200
        assert client.to_end() == b"{"
    assert running.access(1)[0]["fault"] == "IDLE_TIMEOUT"


def test_total(patient):
    """A stream that never pauses and never ends."""
    def endless(_, connection):
        connection.start_stream()
        try:
            while not stopped.wait(0.01):
                connection.piece(answers.chunk({"content": "x"}))
        except OSError:
            stopped.set()

    stopped = threading.Event()
    running = patient(endless, total="500ms")
    with running.client() as client:
        answer = client.ask("POST", CHAT, answers.ask(stream=True))
    assert b"upstream_total_timeout" in answer.body and b"[DONE]" not in answer.body
    assert stopped.wait(wire.TIMEOUT)


def test_connect(gateway):
    """An address that answers nothing at all."""
    target = {"name": "hole", "openai": {"url": "http://192.0.2.1:9/v1"}, "timeouts": {"connect": "300ms"}, "proxy": "none"}
    running = gateway(targets=[target], models=[{"name": "*", "targets": ["hole"]}])
    with running.client() as client:
        answer = client.ask("POST", CHAT, answers.ask())
    assert (answer.status, code(answer)) in ((504, "upstream_connect_timeout"), (502, "upstream_connect_failed"))


# ---- pace ----


def test_slow_client_slows_the_target(gateway, upstream):
    """The target's answer waits in the target, not in the gateway's memory; and arrives whole when the client reads at last."""
    total, piece = 64 * MEGABYTE, b"x" * 65536
    sent = []

    def flood(_, connection):
        connection.start(200, [("content-type", "application/octet-stream"), ("content-length", str(total))])
        connection.sock.settimeout(2)
        try:
            while sum(sent) < total:
                sent.append(connection.sock.send(piece))
        except TimeoutError:
            stuck.set()
            assert resume.wait(wire.TIMEOUT)
        connection.sock.settimeout(wire.TIMEOUT)
        while sum(sent) < total:
            sent.append(connection.sock.send(piece[:total - sum(sent)]))

    stuck, resume = threading.Event(), threading.Event()
    running = gateway(upstream(flood), passthrough=[{"path": "/", "target": "first"}])
    status = pathlib.Path(f"/proc/{running.child.pid}/status")
    before = int(status.read_text().split("VmRSS:")[1].split()[0])
    with running.client() as client:
        client.send(wire.request("GET", "/large"))
        assert stuck.wait(wire.TIMEOUT) and sum(sent) < 32 * MEGABYTE
        assert int(status.read_text().split("VmRSS:")[1].split()[0]) - before < 8 * 1024
        resume.set()
        client.head()
        got = 0
        while got < total:
            client.fill()
            got, client.buffer = got + len(client.buffer), b""
    assert got == total


def test_closed_window_slows_the_target(gateway, upstream):
    """The same for a client of HTTP/2 that gives no window, one stream of many; another stream beside it is served."""
    total, sent = 64 * MEGABYTE, []

    def handle(received, connection):
        if received.target != "/large":
            connection.answer(200, "small", content_type="text/plain")
            return
        connection.start(200, [("content-type", "application/octet-stream"), ("content-length", str(total))])
        connection.sock.settimeout(2)
        try:
            while sum(sent) < total:
                sent.append(connection.sock.send(b"x" * 65536))
        except (TimeoutError, ConnectionError):
            stuck.set()
            connection.close()

    stuck = threading.Event()
    running = gateway(upstream(handle), passthrough=[{"path": "/", "target": "first"}])
    status = pathlib.Path(f"/proc/{running.child.pid}/status")
    before = int(status.read_text().split("VmRSS:")[1].split()[0])
    with h2.Client(running.port) as client:
        client.send(h2.window(0, 1 << 30))
        client.get(1, "/large")
        assert stuck.wait(wire.TIMEOUT) and sum(sent) < 32 * MEGABYTE
        assert int(status.read_text().split("VmRSS:")[1].split()[0]) - before < 8 * 1024
        client.get(3, "/small")
        assert client.answer(3) == (True, b"small")


def test_slow_target_slows_the_client(gateway, upstream):
    """The same the other way, for a body that is not collected."""
    total = 64 * MEGABYTE
    resume = threading.Event()

    def reluctant(sock):
        assert resume.wait(wire.TIMEOUT)

    server = upstream(lambda received, connection: connection.answer(200, str(len(received.body))))
    receive = wire.Stream.exactly

    def exactly(self, size):
        if size == total:
            reluctant(self)
        return receive(self, size)

    running = gateway(server, passthrough=[{"path": "/", "target": "first"}])
    with pytest.MonkeyPatch.context() as patch, running.client() as client:
        patch.setattr(wire.Stream, "exactly", exactly)
        client.send(wire.request("POST", "/upload", headers=[("content-length", str(total))]))
        client.sock.settimeout(2)
        sent = 0
        with pytest.raises(TimeoutError):
            while True:
                sent += client.sock.send(b"x" * 65536)
        assert sent < 32 * MEGABYTE
        resume.set()
        client.sock.settimeout(wire.TIMEOUT)
        while sent < total:
            sent += client.sock.send(b"x" * min(65536, total - sent))
        assert int(client.answer("POST").body) == total


def test_large_body_beside_a_stream(gateway, upstream):
    """A request of a megabyte of base64 is read and edited while another exchange streams: both are whole and in order."""
    words = [f"word{number} " for number in range(200)]

    def handle(received, connection):
        asked = json.loads(received.body)
        if not asked.get("stream"):
            connection.answer(200, answers.chat(str(len(asked["messages"][0]["content"]))))
            return
        connection.start_stream()
        for event in answers.chat_stream(words, with_usage=False):
            connection.piece(event)
        connection.end()

    running = gateway(upstream(handle))
    image = "data:image/png;base64," + "iVBORw0KGgo" * (MEGABYTE // 11)
    with running.client() as stream, running.client() as large:
        stream.send(wire.request("POST", CHAT, answers.ask(stream=True)))
        for _ in range(3):
            answer = large.ask("POST", CHAT, answers.ask(text=image))
            assert json.loads(answer.body)["choices"][0]["message"]["content"] == str(len(image))
        body = stream.answer("POST").body
    assert body.decode() == "".join(answers.chat_stream(words, with_usage=False))
