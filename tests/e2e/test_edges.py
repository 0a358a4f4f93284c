# SPDX-License-Identifier: Apache-2.0
"""Targets and clients at the edge of what HTTP allows, and processes that met a bad end."""
import json
import os
import shutil
import signal
import socket
import ssl
import threading

import pytest
from harness import answers, certificates as making, h2, process, wire

CHAT = "/v1/chat/completions"


def fine(_, connection):
    connection.answer(200, answers.chat())


def ask(running, body=None, **more):
    with running.client() as client:
        return client.ask("POST", CHAT, body or answers.ask(**more))


def test_interim_answers_of_the_target(gateway, upstream):
    def handle(_, connection):
        connection.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n")
        connection.answer(200, answers.chat("in the end"))

    server = upstream(handle)
    running = gateway(server)
    for _ in range(2):
        assert b"in the end" in ask(running).body
    assert {received.connection for received in server.requests} == {1}


class Hasty:
    """A target that answers as soon as it has the head, and never reads the body."""

    def __init__(self, owned, answer):
        self.listener = owned.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.answer, self.done = answer, threading.Event()
        owned.callback(self.done.set)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        sock, _ = self.listener.accept()
        with wire.Stream(sock) as connection:
            connection.head()
            connection.send(self.answer)
            self.done.wait(wire.TIMEOUT)


@pytest.mark.parametrize("size", [1000, 20 << 20])
def test_target_that_answers_before_it_has_the_body(gateway, owned, size):
    """Its word counts: the client gets that answer and not a broken connection's error."""
    body = answers.error("much too large", "invalid_request_error")
    server = Hasty(owned, f"HTTP/1.1 413 No\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n{body}")
    answer = ask(gateway(server), text="x" * size)
    assert answer.status == 413 and answer.body.decode() == body


@pytest.mark.parametrize("status", [204, 304])
def test_answers_that_have_no_body(gateway, upstream, status):
    """A length may stand there all the same; it says nothing about this message."""
    def handle(_, connection):
        connection.start(status, [("etag", '"x"'), *([("content-length", "5")] if status == 304 else [])])

    server = upstream(handle)
    running = gateway(server, passthrough=[{"path": "/", "target": "first"}])
    with running.client() as client:
        for _ in range(3):
            client.send(wire.request("GET", "/page"))
            answer = client.answer()
            assert answer.status == status and answer.get("etag") == '"x"'
    assert {received.connection for received in server.requests} == {1}


@pytest.mark.parametrize("size", [60_000, 70_000, 700_000])
def test_long_events(gateway, upstream, size):
    """Longer than what is held back to decide whether to hide it; the extra usage chunk is hidden, all else arrives."""
    long = answers.chunk({"content": "x" * size}, usage=None)

    def handle(_, connection):
        connection.start_stream()
        for place in range(0, len(long), 9999):
            connection.piece(long[place:place + 9999])
        connection.piece(answers.chunk({}, "stop", usage=None) + answers.chunk(choices=[], usage=answers.USAGE) + answers.event("[DONE]"))
        connection.end()

    running = gateway(upstream(handle))
    body = ask(running, stream=True).body.decode()
    assert body == long + answers.chunk({}, "stop", usage=None) + answers.event("[DONE]")
    assert running.access(1)[0]["tokens"]["input"] == answers.USAGE["prompt_tokens"]


def test_requests_wait_for_a_connection(gateway, upstream):
    """More requests than connections to the target: none is refused, and never more are under way."""
    lock, now, most = threading.Lock(), [0], [0]

    def handle(_, connection):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        reached.wait(0.05)
        with lock:
            now[0] -= 1
        connection.answer(200, answers.chat())

    def edit(targets):
        targets[0]["max_connections"] = 2

    reached = threading.Event()
    running = gateway(upstream(handle), edit=edit)
    statuses = []
    threads = [threading.Thread(target=lambda: statuses.append(ask(running).status)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(wire.TIMEOUT)
    assert statuses == [200] * 12 and most[0] <= 2


def test_waiting_client_that_leaves(gateway, upstream):
    """It leaves the queue; who stands behind it is served."""
    def handle(_, connection):
        assert proceed.wait(wire.TIMEOUT)
        connection.answer(200, answers.chat())

    def edit(targets):
        targets[0]["max_connections"] = 1

    proceed = threading.Event()
    server = upstream(handle)
    running = gateway(server, edit=edit)
    with running.client() as first, running.client() as second, running.client() as third:
        first.send(wire.request("POST", CHAT, answers.ask()))
        server.wait(1)
        second.send(wire.request("POST", CHAT, answers.ask()))
        running.wait_until(lambda: 'postern_pool_waiting{target="first"} 1' in running.metrics())
        third.send(wire.request("POST", CHAT, answers.ask()))
        running.wait_until(lambda: 'postern_pool_waiting{target="first"} 2' in running.metrics())
        second.close()
        running.wait_until(lambda: 'postern_pool_waiting{target="first"} 1' in running.metrics())
        proceed.set()
        assert first.answer("POST").status == third.answer("POST").status == 200
    assert len(server.requests) == 2


@pytest.mark.parametrize("client_speaks", ["1.1", "2"])
def test_trailers_end_here(gateway, upstream, client_speaks):
    """They are read and left out, as an intermediary may (RFC 9110 6.5.1): the body is whole and the connections go on."""
    def handle(received, connection):
        assert received.body == b"abc"
        connection.start(200, [("content-type", "text/plain"), ("transfer-encoding", "chunked"), ("trailer", "x-checksum")])
        connection.piece("body")
        connection.send("0\r\nx-checksum: 7\r\n\r\n")

    server = upstream(handle)
    running = gateway(server, passthrough=[{"path": "/", "target": "first"}])
    if client_speaks == "2":
        with h2.Client(running.port) as client:
            for stream in (1, 3):
                head = h2.request("POST", "/page", ("te", "trailers"))
                client.send(h2.frame(h2.HEADERS, h2.END_HEADERS, stream, head) + h2.frame(h2.DATA, 0, stream, b"abc") +
                            h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, stream, h2.fields(("x-mine", "1"))))
                assert client.answer(stream) == (True, b"body")
    else:
        with running.client() as client:
            for _ in range(2):
                client.send(wire.request("POST", "/page", headers=[("transfer-encoding", "chunked"), ("te", "trailers")]) +
                            b"3\r\nabc\r\n0\r\nx-mine: 1\r\n\r\n")
                answer = client.answer("POST")
                assert answer.body == b"body" and answer.get("trailer") is None
    assert len(server.requests) == 2 and {received.connection for received in server.requests} == {1}


def test_socket_file_of_a_process_that_was_killed(gateway, upstream, tmp_path_factory):
    """Nobody listens there any more, so it is in nobody's way. A process that does listen is."""
    path = tmp_path_factory.mktemp("s") / "postern.sock"
    server = upstream(fine)
    first = gateway(server, listener={"address": f"unix:{path}"})
    done = process.postern("run", "--config", first.config_path, env={**os.environ, "TARGET_KEY": "x"})
    assert done.returncode == 1 and str(path) in done.stderr
    first.stopped = True
    first.child.send_signal(signal.SIGKILL)
    first.finish()
    assert path.exists()
    gateway(server, listener={"address": f"unix:{path}"})
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(path))
    with wire.Stream(sock) as client:
        client.send(wire.request("POST", CHAT, answers.ask()))
        assert client.head().status == 200


def test_certificate_in_a_mounted_secret(gateway, upstream, certificates, tmp_path_factory):
    """The kubelet swaps a symbolic link to a folder; the names in it stay."""
    folder, newer = tmp_path_factory.mktemp("secret"), making.make(tmp_path_factory.mktemp("newer"))
    for version, files in (("one", certificates), ("two", newer)):
        (folder / version).mkdir()
        shutil.copy(files.certificate, folder / version / "tls.crt")
        shutil.copy(files.key, folder / version / "tls.key")
    (folder / "..data").symlink_to("one")
    for name in ("tls.crt", "tls.key"):
        (folder / name).symlink_to(f"..data/{name}")
    running = gateway(upstream(fine), listener={"tls": {"certificate": str(folder / "tls.crt"), "key": str(folder / "tls.key")}})
    both = ssl.create_default_context(cafile=str(certificates.ca))
    both.load_verify_locations(newer.ca)

    def serial():
        with socket.create_connection(("127.0.0.1", running.port), wire.TIMEOUT) as sock, both.wrap_socket(sock, server_hostname="localhost") as tls:
            return tls.getpeercert()["serialNumber"]

    old = serial()
    (folder / "..new").symlink_to("two")
    os.replace(folder / "..new", folder / "..data")
    running.wait_until(lambda: serial() != old)


def test_target_key_in_a_file_that_changes(gateway, upstream, tmp_path_factory):
    """A key that is rolled is used without a restart."""
    path = tmp_path_factory.mktemp("k") / "key"
    path.write_text("old-key\n")

    def edit(targets):
        targets[0]["credential"] = {"api_key": {"file": str(path)}}

    server = upstream(fine)
    running = gateway(server, edit=edit)
    ask(running)
    assert ("authorization", "Bearer old-key") in server.requests[0].headers
    beside = path.with_suffix(".new")
    beside.write_text("new-key\n")
    os.replace(beside, path)

    def rolled():
        ask(running)
        return ("authorization", "Bearer new-key") in server.requests[-1].headers

    running.wait_until(rolled)


def test_h2_client_and_large_upload(gateway, upstream):
    """An upload over HTTP/2 larger than any window, to a target that reads at its own pace."""
    server = upstream(lambda received, connection: connection.answer(200, str(len(received.body))))
    running = gateway(server, passthrough=[{"path": "/", "target": "first"}])
    total, sent, room, stream_room = 3 << 20, 0, 65535, 65535
    with h2.Client(running.port) as client:
        client.send(h2.frame(h2.HEADERS, h2.END_HEADERS, 1, h2.request("POST", "/upload", ("content-length", str(total)))))
        while sent < total:
            size = min(16384, total - sent, room, stream_room)
            if size > 0:
                client.send(h2.frame(h2.DATA, h2.END_STREAM if sent + size == total else 0, 1, b"x" * size))
                sent, room, stream_room = sent + size, room - size, stream_room - size
                continue
            got = client.next()
            if got.kind == h2.WINDOW_UPDATE:
                more = int.from_bytes(got.payload, "big")
                room, stream_room = (room + more, stream_room) if got.stream == 0 else (room, stream_room + more)
            elif got.kind == h2.SETTINGS and not got.flags & h2.ACK:
                for place in range(0, len(got.payload), 6):
                    if int.from_bytes(got.payload[place:place + 2], "big") == h2.INITIAL_WINDOW_SIZE:
                        stream_room += int.from_bytes(got.payload[place + 2:place + 6], "big") - 65535
        good, body = client.answer(1)
    assert good and int(body) == total and len(server.requests) == 1
    assert json.dumps(running.access(1)).count("request_bytes") == 1
