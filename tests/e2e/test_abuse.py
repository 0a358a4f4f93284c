# SPDX-License-Identifier: Apache-2.0
"""Clients that abuse HTTP/2 end by a limit with a name; bystanders on other connections never notice, and memory stays where it was."""
import json
import os
import pathlib
import threading

import pytest
from harness import answers, h2, wire

MEGABYTES = 1 << 20
CHAT = "/v1/chat/completions"


def empty_data(client):
    client.ask(1, "", end=False)
    return h2.frame(h2.DATA, 0, 1) * 2000


def endless_head(client):
    client.send(h2.frame(h2.HEADERS, 0, 1, h2.request("GET", "/v1/models")))
    return h2.frame(h2.CONTINUATION, 0, 1, h2.fields(("x-more", "y"))) * 2000


def rapid_reset(_):
    head = h2.request("GET", "/v1/models")
    return b"".join(h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, stream, head) + h2.reset(stream, h2.CANCEL)
                    for stream in range(1, 2001, 2))


def made_resets(_):
    """Streams that we have to reset ourselves: each has a field whose name is no name."""
    head = h2.request("GET", "/v1/models", ("Upper", "case"))
    return b"".join(h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, stream, head) for stream in range(1, 2001, 2))


FLOODS = {
    "h2_resets": rapid_reset,
    "h2_stream_errors": made_resets,
    "h2_pings": lambda client: h2.frame(h2.PING, 0, 0, b"12345678") * 5000,
    "h2_settings": lambda client: h2.frame(h2.SETTINGS) * 5000,
    "h2_empty_data": empty_data,
    "h2_continuations": endless_head,
    "h2_window_updates": lambda client: h2.window(0, 1) * 5000,
    "h2_priorities": lambda client: h2.frame(2, 0, 1, b"\0\0\0\0\x10") * 5000,
    "h2_unknown_frames": lambda client: h2.frame(0x77, 0, 0, b"x") * 5000,
}


def resident(process):
    text = pathlib.Path(f"/proc/{process.child.pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) * 1024


def flood(running, make):
    """Runs into the limit; returns the last GOAWAY's code."""
    with h2.Client(running.port) as client:
        client.polite = False
        frames = make(client)
        try:
            client.send(frames)
        except OSError:
            pass
        codes = [int.from_bytes(one.payload[4:8], "big") for one in client.to_close() if one.kind == h2.GOAWAY]
        return codes[-1] if codes else None


@pytest.fixture
def running(gateway, upstream):
    proceed = threading.Event()

    def handle(received, connection):
        if not json.loads(received.body).get("stream"):
            connection.answer(200, answers.chat())
            return
        connection.start_stream()
        connection.piece(answers.chunk({"content": "before"}))
        assert proceed.wait(wire.TIMEOUT)
        connection.piece(answers.chunk({"content": "after"}) + answers.event("[DONE]"))
        connection.end()

    # What a sanitizer keeps of freed memory would be measured, too.
    child = gateway(upstream(handle), env={"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1"})
    child.proceed = proceed
    yield child
    proceed.set()


@pytest.mark.parametrize("limit", FLOODS)
def test_floods_end_by_name(running, limit):
    assert flood(running, FLOODS[limit]) in (h2.ENHANCE_YOUR_CALM, None)
    running.wait_until(lambda: f'postern_http2_limit_total{{limit="{limit}"}} 1' in running.metrics())
    running.wait_until(lambda: f": {limit} (ENHANCE_YOUR_CALM); connection closed" in "".join(running.stderr))


def test_bystanders_complete(running):
    """Rapid reset, again and again, while requests and streams on other connections go on."""
    with h2.Client(running.port) as stream, running.client() as other, h2.Client(running.port) as requests:
        stream.ask(1, answers.ask(stream=True))
        body = stream.frames_to(h2.DATA, 1)[-1].payload
        for _ in range(3):
            flood(running, rapid_reset)
        before = resident(running)
        for number in range(20):
            assert flood(running, rapid_reset) in (h2.ENHANCE_YOUR_CALM, None)
            assert other.ask("POST", CHAT, answers.ask()).status == 200
            requests.ask(2 * number + 1, answers.ask())
            assert requests.answer(2 * number + 1)[0]
        assert resident(running) - before < 10 * MEGABYTES
        running.proceed.set()
        body += stream.answer_rest(1)
    assert b"before" in body and b"after" in body and body.endswith(b"data: [DONE]\n\n")
    running.wait_until(lambda: 'postern_http2_limit_total{limit="h2_resets"} 23' in running.metrics())
