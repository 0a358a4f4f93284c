# SPDX-License-Identifier: Apache-2.0
"""Streams: every event leaves before the next one enters, bytes stay as they are, and either end may go at any moment."""
import json
import threading

import pytest
from harness import answers, wire

CHAT = "/v1/chat/completions"


class Paced:
    """An upstream stream that sends one event each time the test says next(), and says when its client went away."""

    def __init__(self, events, ending="end"):
        self.events, self.ending = events, ending
        self.turn = threading.Semaphore(0)
        self.gone = threading.Event()

    def next(self, times=1):
        for _ in range(times):
            self.turn.release()

    def __call__(self, _, connection):
        try:
            self._play(connection)
        except (wire.Closed, ConnectionError):
            self.gone.set()

    def _play(self, connection):
        connection.start_stream()
        for event in self.events:
            assert self.turn.acquire(timeout=wire.TIMEOUT)
            connection.piece(event)
        if self.ending == "watch":
            if connection.is_closed():
                self.gone.set()
            return
        assert self.turn.acquire(timeout=wire.TIMEOUT)
        if self.ending == "end":
            connection.end()
        elif self.ending == "cut":
            connection.close()
        else:
            connection.reset()


def start(gateway, **more):
    client = gateway.client()
    client.send(wire.request("POST", CHAT, answers.ask(stream=True, **more)))
    return client


def read_until(client, mark):
    """Body bytes until `mark` has come."""
    body = b""
    while mark not in body:
        piece = client.chunk()
        assert piece, f"the body ended without {mark!r}: {body!r}"
        body += piece
    return body


def events_of(body):
    return [line[len("data: "):] for line in body.decode().split("\n") if line.startswith("data: ")]


def test_each_event_leaves_at_once(gateway, upstream):
    words = [f"word{number}." for number in range(10)]
    paced = Paced(answers.chat_stream(words, with_usage=False))
    running = gateway(upstream(paced))
    with start(running) as client:
        paced.next(2)
        assert client.head().status == 200
        seen = read_until(client, b"word0.")
        for word in words[1:]:
            assert word.encode() not in seen
            paced.next()
            seen = read_until(client, word.encode())
        paced.next(3)
        read_until(client, b"data: [DONE]\n\n")
        assert client.chunk() == b""


def test_bytes_stay_as_they_are(gateway, upstream):
    """Comments, CRLF, odd spacing, unknown events and unknown fields: nothing is re-framed."""
    body = (b": keep-alive\r\n\r\n" b'data:  {"id":"x", "choices":[ {"index":0,"delta":{"content":"\\u0041 \xc3\xa9"}} ],"new":1.50}\n\n'
            b"event: strange\nid: 7\nretry: 10\ndata: one\ndata: two\n\n"
            b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\r\r' b"data: [DONE]\n\n")
    size = 7

    def handle(_, connection):
        connection.start_stream()
        for place in range(0, len(body), size):
            connection.piece(body[place:place + size])
        connection.end()

    running = gateway(upstream(handle))
    with start(running) as client:
        assert client.answer("POST").body == body


def test_usage_is_asked_for_and_hidden(gateway, upstream):
    def handle(received, connection):
        asked = json.loads(received.body).get("stream_options", {}).get("include_usage", False)
        connection.start_stream()
        connection.piece("".join(answers.chat_stream(["hello"], with_usage=asked)))
        connection.end()

    server = upstream(handle)
    running = gateway(server)
    with start(running) as client:
        body = client.answer("POST").body
    assert json.loads(server.requests[0].body)["stream_options"] == {"include_usage": True}
    chunks = [json.loads(event) for event in events_of(body)[:-1]]
    assert all(chunk["choices"] for chunk in chunks) and not any(chunk.get("usage") for chunk in chunks)
    with start(running, stream_options={"include_usage": True}) as client:
        body = client.answer("POST").body
    assert json.loads(events_of(body)[-2])["usage"] == answers.USAGE
    assert '"total_tokens"' not in json.dumps(chunks)
    metrics = running.metrics()
    assert "token" in metrics


def test_usage_option_is_taken_back_when_refused(gateway, upstream):
    """A target that knows no stream_options says 400; it is asked once more without."""
    def handle(received, connection):
        if "stream_options" in json.loads(received.body):
            connection.answer(400, answers.error("Unrecognized request argument supplied: stream_options", "invalid_request_error"))
            return
        connection.start_stream()
        connection.piece("".join(answers.chat_stream(["plain"], with_usage=False)))
        connection.end()

    server = upstream(handle)
    with start(gateway(server)) as client:
        answer = client.answer("POST")
    assert answer.status == 200 and b"plain" in answer.body
    assert len(server.requests) == 2


@pytest.mark.parametrize("ending", ["cut", "reset"])
def test_upstream_dies_in_the_middle(gateway, upstream, ending):
    """The client learns it from an error event, without [DONE], and the body ends well so that the SDK reads the event."""
    paced = Paced([answers.chunk({"content": "partial"})], ending)
    running = gateway(upstream(paced))
    with start(running) as client:
        paced.next()
        client.head()
        body = read_until(client, b"partial")
        paced.next()
        body += client.chunked()
    last = json.loads(events_of(body)[-1])
    assert last["error"]["code"] == "upstream_closed" and b"[DONE]" not in body


def test_responses_stream_dies_in_the_middle(gateway, upstream):
    def handle(_, connection):
        connection.start_stream()
        connection.piece('event: response.created\ndata: {"type":"response.created","sequence_number":0,"response":{"id":"r"}}\n\n')
        connection.piece('event: response.output_text.delta\ndata: {"type":"response.output_text.delta","sequence_number":1,'
                         '"item_id":"i","output_index":0,"content_index":0,"delta":"partial"}\n\n')
        connection.close()

    with gateway(upstream(handle)).client() as client:
        body = client.ask("POST", "/v1/responses", json.dumps({"model": "m", "input": "hi", "stream": True, "store": False})).body
    assert b"partial" in body and b"event: error\n" in body
    last = json.loads(events_of(body)[-1])
    assert last["type"] == "error" and last["sequence_number"] == 2


@pytest.mark.parametrize("leave", ["close", "reset"])
@pytest.mark.parametrize("sent", [0, 1, 2])
def test_client_leaves(gateway, upstream, leave, sent):
    """In whatever phase the client goes, the upstream sees the end of its connection."""
    events = [answers.chunk({"role": "assistant"}), answers.chunk({"content": "one"})][:sent]
    paced = Paced(events, "watch")
    server = upstream(paced)
    running = gateway(server)
    client = start(running)
    server.wait(1)
    paced.next(sent)
    if sent == 2:
        client.head()
        read_until(client, b"one")
    getattr(client, leave)()
    assert paced.gone.wait(wire.TIMEOUT)


def test_client_leaves_while_the_answer_is_awaited(gateway, upstream):
    gone = threading.Event()

    def silent(_, connection):
        if connection.is_closed():
            gone.set()

    server = upstream(silent)
    running = gateway(server)
    client = running.client()
    client.send(wire.request("POST", CHAT, answers.ask()))
    server.wait(1)
    client.close()
    assert gone.wait(wire.TIMEOUT)


def test_leaving_after_done_is_a_success(gateway, upstream):
    """As the Python SDK does: it closes once it has read [DONE], before the body's own end."""
    paced = Paced(answers.chat_stream(["all"], with_usage=False))
    server = upstream(paced)
    running = gateway(server)
    client = start(running)
    paced.next(4)
    client.head()
    read_until(client, b"data: [DONE]\n\n")
    client.close()
    paced.next()
    (line,) = running.access(1)
    assert line["status"] == 200 and line.get("fault") in (None, "", "none")


@pytest.mark.workers
def test_many_streams_at_once(gateway, upstream):
    """Streams of many clients over several workers, none of which sees another's bytes."""
    def handle(received, connection):
        name = json.loads(received.body)["messages"][0]["content"]
        connection.start_stream()
        for event in answers.chat_stream([f"{name}:{number} " for number in range(20)], with_usage=False):
            connection.piece(event)
        connection.end()

    running = gateway(upstream(handle), workers=2)
    bodies = {}

    def ask(name):
        with start(running, text=name) as client:
            bodies[name] = client.answer("POST").body

    threads = [threading.Thread(target=ask, args=(f"client{number}",)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(wire.TIMEOUT)
    assert len(bodies) == 24
    for name, body in bodies.items():
        text = "".join(json.loads(event)["choices"][0]["delta"].get("content", "") for event in events_of(body)[:-1])
        assert text == "".join(f"{name}:{number} " for number in range(20))
