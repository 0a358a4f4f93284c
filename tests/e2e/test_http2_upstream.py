# SPDX-License-Identifier: Apache-2.0
"""Targets that speak HTTP/2, frame by frame: one connection for many requests, and every way in which a stream can end."""
import json
import threading

import pytest
from harness import answers, h2, wire

CHAT = "/v1/chat/completions"
JSON = ("content-type", "application/json")
EVENTS = ("content-type", "text/event-stream")


def answer(connection, stream, text="Hello."):
    connection.send(h2.frame(h2.HEADERS, h2.END_HEADERS, stream, h2.response(200, JSON)) +
                    h2.frame(h2.DATA, h2.END_STREAM, stream, answers.chat(text).encode()))


def once(first):
    """A handler that does `first` with the first request and answers all others."""
    state = []

    def handle(connection, stream):
        if not state:
            state.append(stream)
            first(connection, stream)
        else:
            answer(connection, stream)

    return handle


@pytest.fixture
def before(gateway, owned):
    """before(handler): a gateway whose one target speaks HTTP/2, with the target as `upstream`."""
    def start(handler, settings=b"", timeouts=None, process_timeouts=None):
        server = h2.Upstream(handler, settings)
        owned.callback(server.close)

        def edit(targets):
            targets[0]["http_version"] = "2"
            targets[0]["timeouts"] = timeouts or {}

        child = gateway(server, edit=edit, **({"timeouts": process_timeouts} if process_timeouts else {}))
        child.upstream = server
        return child

    return start


def ask(running, **more):
    with running.client() as client:
        return client.ask("POST", CHAT, answers.ask(**more))


def text_of(got):
    return json.loads(got.body)["choices"][0]["message"]["content"]


def test_requests_share_a_connection(before):
    together = threading.Barrier(5)

    def handle(connection, stream):
        if stream > 1:
            waiting.append((connection, stream))
            if len(waiting) == 5:
                for one in waiting:
                    answer(*one)
        else:
            answer(connection, stream)

    waiting = []
    running = before(handle)
    assert ask(running).status == 200

    def one():
        together.wait()
        statuses.append(ask(running).status)

    statuses = []
    threads = [threading.Thread(target=one) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 5 and len(running.upstream.connections) == 1


def test_the_targets_limit_of_streams_opens_another_connection(before):
    def handle(connection, stream):
        if held:
            answer(connection, stream)
            answer(*held.pop())
        elif stream == 1 and connection.number == 1:
            answer(connection, stream)
        else:
            held.append((connection, stream))

    held = []
    running = before(handle, h2.setting(3, 1))
    assert ask(running).status == 200
    statuses = []
    threads = [threading.Thread(target=lambda: statuses.append(ask(running).status)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200, 200] and len(running.upstream.connections) == 2


@pytest.mark.parametrize("status, body", [(200, b""), (204, None), (200, None)])
def test_answers_without_a_body(before, status, body):
    def handle(connection, stream):
        ends = h2.END_STREAM if body is None else 0
        connection.send(h2.frame(h2.HEADERS, h2.END_HEADERS | ends, stream, h2.response(status)))
        if body is not None:
            connection.send(h2.frame(h2.DATA, h2.END_STREAM, stream, body))

    running = before(handle)
    for _ in range(2):
        got = ask(running)
        assert got.status == status and got.body == b""
    assert len(running.upstream.connections) == 1


def test_empty_answer_whose_end_comes_when_the_client_has_left(before):
    proceed = threading.Event()

    def handle(connection, stream):
        connection.send(h2.frame(h2.HEADERS, h2.END_HEADERS, stream, h2.response(200, ("content-length", "0"))))
        assert proceed.wait(wire.TIMEOUT)
        connection.send(h2.frame(h2.DATA, h2.END_STREAM, stream))

    running = before(handle)
    assert ask(running).status == 200
    with running.client() as other:  # its answer comes after the gateway has seen the first client leave
        assert other.ask("GET", "/v1/models").status == 200
    proceed.set()
    assert [line["status"] for line in running.access(2)] == [200, 200]


def test_interim_answers_and_trailers(before):
    def handle(connection, stream):
        connection.send(h2.frame(h2.HEADERS, h2.END_HEADERS, stream, h2.response(103)) +
                        h2.frame(h2.HEADERS, h2.END_HEADERS, stream, h2.response(200, JSON)) +
                        h2.frame(h2.DATA, 0, stream, answers.chat("with trailers").encode()) +
                        h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, stream, h2.fields(("x-checksum", "1"))))

    assert text_of(ask(before(handle))) == "with trailers"


def refuse(connection, stream):
    connection.send(h2.reset(stream, h2.REFUSED_STREAM))


def goaway_before(connection, stream):
    connection.send(h2.frame(h2.GOAWAY, 0, 0, h2.number(stream - 2 if stream > 1 else 0) + h2.number(h2.NO_ERROR)))


def close(connection, stream):
    connection.sock.shutdown(2)


@pytest.mark.parametrize("first", [refuse, goaway_before, close])
def test_what_was_certainly_not_begun_is_asked_again(before, first):
    """Once, on another connection, and the client sees nothing of it. A close counts when the connection had been used before."""
    calls = []

    def handle(connection, stream):
        calls.append(stream)
        if len(calls) == 2:
            first(connection, stream)
        else:
            answer(connection, stream, f"call {len(calls)}")

    running = before(handle)
    assert text_of(ask(running)) == "call 1"
    assert text_of(ask(running)) == "call 3"
    assert len(running.upstream.connections) == 2


def test_goaway_lets_open_streams_finish(before):
    def handle(connection, stream):
        if connection.number == 1:
            connection.send(h2.frame(h2.GOAWAY, 0, 0, h2.number(stream) + h2.number(h2.NO_ERROR)))
        answer(connection, stream, f"connection {connection.number}")

    running = before(handle)
    assert text_of(ask(running)) == "connection 1"
    running.upstream.wait(h2.GOAWAY)
    assert text_of(ask(running)) == "connection 2"


@pytest.mark.parametrize("frames, code", [
    (lambda stream: h2.reset(stream, h2.INTERNAL_ERROR), "upstream_closed"),
    (lambda stream: h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, stream, h2.response(200, ("Upper", "case"))), "upstream_protocol_error"),
    (lambda stream: h2.frame(h2.DATA, h2.END_STREAM, stream + 100, b"x"), "upstream_protocol_error"),
    (lambda stream: b"HTTP/1.1 400 Bad Request\r\n\r\n" * 9, "upstream_protocol_error"),
])
def test_broken_answers(before, frames, code):
    running = before(once(lambda connection, stream: connection.send(frames(stream))))
    got = ask(running)
    assert got.status == 502 and json.loads(got.body)["error"]["code"] == code
    assert ask(running).status == 200


def test_stream_that_breaks_off(before):
    def handle(connection, stream):
        connection.send(h2.frame(h2.HEADERS, h2.END_HEADERS, stream, h2.response(200, EVENTS)) +
                        h2.frame(h2.DATA, 0, stream, answers.chunk({"content": "one"}).encode()) +
                        h2.reset(stream, h2.INTERNAL_ERROR))

    got = ask(before(handle), stream=True)
    assert got.status == 200 and b'"one"' in got.body and b"upstream_closed" in got.body and b"[DONE]" not in got.body


def test_client_that_leaves_resets_its_stream_alone(before):
    def handle(connection, stream):
        if stream == 1:
            arrived.set()
        else:
            answer(connection, stream)

    arrived = threading.Event()
    running = before(handle)
    with running.client() as client:
        client.send(wire.request("POST", CHAT, answers.ask()))
        assert arrived.wait(wire.TIMEOUT)
    running.upstream.wait(h2.RST_STREAM, h2.CANCEL)
    assert ask(running).status == 200 and len(running.upstream.connections) == 1


def test_target_that_answers_no_ping_is_gone(before):
    def handle(connection, _):
        connection.polite = False

    running = before(handle, process_timeouts={"keepalive": "1s"})
    got = ask(running)
    assert got.status == 502 and json.loads(got.body)["error"]["code"] == "upstream_closed"
    running.upstream.wait(h2.PING)


def test_unused_connection_is_closed(before):
    running = before(answer, timeouts={"pool_idle": "100ms"})
    assert ask(running).status == 200
    running.upstream.wait(h2.GOAWAY)
    assert ask(running).status == 200 and len(running.upstream.connections) == 2
