# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 as clients meet it, frame by frame."""
import json
import signal
import threading

import pytest
from harness import answers, h2, wire

LIMITS = {"header": "300ms", "body": "300ms", "write": "1s", "idle": "1s", "keepalive": "1s"}


def echo(received, connection):
    connection.answer(200, answers.chat(json.loads(received.body)["messages"][0]["content"]))


@pytest.fixture
def running(gateway, upstream):
    return gateway(upstream(echo))


@pytest.fixture
def hasty(gateway, upstream):
    """A gateway with short time limits before a target that answers the prompt `wait` only when the event is set."""
    proceed = threading.Event()

    def handle(received, connection):
        if b'"wait"' in received.body:
            proceed.wait(wire.TIMEOUT)
        echo(received, connection)

    child = gateway(upstream(handle), timeouts=LIMITS)
    child.proceed = proceed
    yield child
    proceed.set()


def goaway_code(frames):
    found = [one for one in frames if one.kind == h2.GOAWAY]
    assert found, frames
    return int.from_bytes(found[-1].payload[4:8], "big")


def test_many_streams_at_once(running):
    with h2.Client(running.port) as client:
        for stream in range(1, 100, 2):
            client.ask(stream, answers.ask(text=f"text {stream} "))
        bodies = {}
        while len(bodies) < 50 or not all(end for _, end in bodies.values()):
            got = client.next()
            if got.kind == h2.DATA:
                before = bodies.get(got.stream, (b"", False))[0]
                bodies[got.stream] = (before + got.payload, bool(got.flags & h2.END_STREAM))
        for stream, (body, _) in bodies.items():
            assert f"text {stream} ".encode() in body


def test_refusals_leave_the_connection_as_it_is(running):
    with h2.Client(running.port) as client:
        client.get(1, "/" + "a" * 9000)
        good, body = client.answer(1)
        assert not good and b"uri_too_long" in body
        client.send(h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, 3, h2.fields((":method", "CONNECT"), (":authority", "a:1"))))
        good, body = client.answer(3)
        assert not good and b"not_implemented" in body
        client.get(5, "/v1/models", ("Upper", "case"))
        assert client.frames_to(h2.RST_STREAM, 5)[-1].payload == h2.number(h2.PROTOCOL_ERROR)
        client.ask(7, answers.ask(), ("content-length", "3"))
        assert client.frames_to(h2.RST_STREAM, 7)[-1].payload == h2.number(h2.PROTOCOL_ERROR)
        client.ask(9, answers.ask())
        assert client.answer(9)[0]


def test_early_answer_ends_the_request(running):
    with h2.Client(running.port) as client:
        client.ask(1, "{", ("content-length", "999999999"), end=False)
        good, body = client.answer(1)
        assert not good and b"request_too_large" in body
        assert client.frames_to(h2.RST_STREAM, 1)[-1].payload == h2.number(h2.NO_ERROR)


def test_slow_body_is_one_streams_matter(hasty):
    with h2.Client(hasty.port) as client:
        client.ask(1, '{"model"', end=False)
        client.ask(3, answers.ask())
        assert client.answer(3)[0]
        good, body = client.answer(1)
        assert not good and b"request_timeout" in body


def test_slow_head_ends_the_connection(hasty):
    with h2.Client(hasty.port) as client:
        client.frames_to(h2.SETTINGS, flags=h2.ACK)
        client.polite = False
        client.send(h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, 1, h2.request("GET", "/v1/models"))[:-1])
        assert goaway_code(client.to_close()) == h2.ENHANCE_YOUR_CALM


def test_idle_connection_is_closed(hasty):
    with h2.Client(hasty.port) as client:
        assert goaway_code(client.to_close()) == h2.NO_ERROR


def test_keepalive_answered(hasty):
    with h2.Client(hasty.port) as client:
        client.ask(1, answers.ask(text="wait"))
        client.frames_to(h2.PING)
        client.frames_to(h2.PING)
        hasty.proceed.set()
        assert client.answer(1)[0]


def test_keepalive_unanswered(hasty):
    with h2.Client(hasty.port) as client:
        client.polite = False
        client.ask(1, answers.ask(text="wait"))
        frames = client.to_close()
        assert [one for one in frames if one.kind == h2.PING] and not [one for one in frames if one.kind == h2.DATA]


def test_client_that_does_not_open_its_window(hasty):
    with h2.Client(hasty.port, h2.setting(h2.INITIAL_WINDOW_SIZE, 0)) as client:
        client.ask(1, answers.ask())
        assert client.frames_to(h2.RST_STREAM, 1)[-1].payload == h2.number(h2.CANCEL)


def test_small_windows_bring_everything(running):
    text = "word " * 3000
    with h2.Client(running.port, h2.setting(h2.INITIAL_WINDOW_SIZE, 1)) as client:
        client.ask(1, answers.ask(text=text))
        body = client.frames_to(h2.DATA, 1)[-1].payload
        assert len(body) == 1
        client.send(h2.window(1, 0x7FFFFF) + h2.window(0, 0x7FFFFF))
        assert text.encode() in body + client.answer_rest(1)


def test_rapid_reset_ends_the_connection_and_no_other(running):
    with h2.Client(running.port) as bystander, h2.Client(running.port) as client:
        bystander.ask(1, answers.ask(), end=False)
        client.send(b"".join(
            h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, stream, h2.request("GET", "/v1/models")) + h2.reset(stream, h2.CANCEL)
            for stream in range(1, 1201, 2)))
        assert goaway_code(client.to_close()) == h2.ENHANCE_YOUR_CALM
        bystander.send(h2.frame(h2.DATA, h2.END_STREAM, 1))
        assert bystander.answer(1)[0]


def test_client_reset_cancels_upstream(gateway, upstream):
    gone = threading.Event()

    def handle(_, connection):
        connection.start_stream()
        connection.piece(answers.chunk({"content": "one"}))
        assert connection.is_closed()
        gone.set()

    running = gateway(upstream(handle))
    with h2.Client(running.port) as client:
        client.ask(1, answers.ask(stream=True))
        client.frames_to(h2.DATA, 1)
        client.send(h2.reset(1, h2.CANCEL))
        assert gone.wait(wire.TIMEOUT)
        assert running.access(1)[0]["outcome"] == "cancelled"
        client.get(3, "/v1/models")
        assert client.answer(3)[0]


def test_drain(hasty):
    with h2.Client(hasty.port) as client, h2.Client(hasty.port) as idle:
        idle.frames_to(h2.SETTINGS, flags=h2.ACK)
        client.ask(1, answers.ask(text="wait"))
        client.frames_to(h2.PING)  # the request has arrived
        hasty.signal(signal.SIGTERM)
        first = client.frames_to(h2.GOAWAY)[-1]
        assert first.payload[:4] == h2.number(0x7FFFFFFF)
        last = client.frames_to(h2.GOAWAY)[-1]
        assert last.payload == h2.number(1) + h2.number(h2.NO_ERROR)
        assert goaway_code(idle.to_close()) == h2.NO_ERROR
        hasty.proceed.set()
        assert client.answer(1)[0]
        client.to_close()
