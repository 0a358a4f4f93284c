# SPDX-License-Identifier: Apache-2.0
"""The HTTP/1.1 server as clients meet it; what is ambiguous stands in conformance/test_ambiguous.py."""
import gzip
import json
import socket
import threading

import pytest
from harness import answers, wire

CHAT = "/v1/chat/completions"


def echo(received, connection):
    """Answers with the text that was asked."""
    connection.answer(200, answers.chat(json.loads(received.body)["messages"][0]["content"]))


def text_of(answer):
    return json.loads(answer.body)["choices"][0]["message"]["content"]


@pytest.fixture
def running(gateway, upstream):
    return gateway(upstream(echo))


def test_keep_alive(running):
    with running.client() as client:
        for number in range(5):
            assert text_of(client.ask("POST", CHAT, answers.ask(text=f"n{number}"))) == f"n{number}"


def test_connection_close_is_honoured(running):
    with running.client() as client:
        answer = client.ask("POST", CHAT, answers.ask(), [("connection", "close")])
        assert answer.status == 200 and answer.get("connection") == "close" and client.is_closed()


def test_http_1_0(running):
    with running.client() as client:
        body = answers.ask()
        client.send(f"POST {CHAT} HTTP/1.0\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}")
        answer = client.head()
        assert answer.status == 200 and answer.get("transfer-encoding") is None
        assert b"hi" in client.to_end()


def test_pipelining_keeps_the_order(running):
    texts = [f"pipelined {number}" for number in range(8)]
    with running.client() as client:
        client.send(b"".join(wire.request("POST", CHAT, answers.ask(text=text)) for text in texts))
        assert [text_of(client.answer("POST")) for _ in texts] == texts


def test_one_byte_at_a_time(running):
    with running.client() as client:
        for byte in wire.request("POST", CHAT, answers.ask(text="dribbled")):
            client.send(bytes([byte]))
        assert text_of(client.answer("POST")) == "dribbled"


@pytest.mark.parametrize("size", [1, 7, 100000])
def test_chunked_request(running, size):
    body = answers.ask(text="x" * 50000).encode()
    with running.client() as client:
        client.send(wire.request("POST", CHAT, headers=[("transfer-encoding", "chunked"), ("content-type", "application/json")]))
        pieces = [body[place:place + size] for place in range(0, len(body), size)]
        framed = b"".join(f"{len(piece):X}\r\n".encode() + piece + b"\r\n" for piece in pieces).replace(b"\r\n", b";ext=1\r\n", 1)
        client.send(framed + b"0\r\nx-trailer: 1\r\n\r\n")
        assert text_of(client.answer("POST")) == "x" * 50000


def test_expect_continue(running):
    body = answers.ask(text="expected")
    with running.client() as client:
        head = wire.request("POST", CHAT, headers=[("expect", "100-continue"), ("content-length", str(len(body))),
                                                   ("content-type", "application/json")])
        client.send(head)
        assert client.head().status == 100
        client.send(body)
        assert text_of(client.answer("POST")) == "expected"


def test_expect_is_not_continued_when_refused(running):
    """Who is refused by its head alone is told before it sends a body."""
    with running.client() as client:
        client.send(wire.request("POST", "/nowhere", headers=[("expect", "100-continue"), ("content-length", "1000000")]))
        assert client.head().status == 404


def test_other_expectations_are_refused(running):
    with running.client() as client:
        assert client.ask("POST", CHAT, answers.ask(), [("expect", "a-miracle")]).status == 417


def test_head_has_no_body(running):
    with running.client() as client:
        answer = client.ask("HEAD", "/v1/models")
        assert answer.status == 200 and int(answer.get("content-length")) > 0
        again = client.ask("GET", "/v1/models")
        assert len(again.body) == int(answer.get("content-length"))


def test_request_id(running):
    with running.client() as client:
        made = client.ask("GET", "/v1/models").get("x-request-id")
        other = client.ask("GET", "/v1/models").get("x-request-id")
        assert made and other and made != other
        assert client.ask("GET", "/nowhere").get("x-request-id")


ERRORS = {
    "unknown path": (404, "unknown_url", ("POST", "/v1/unheard/of", "{}", [])),
    "unknown method": (405, "method_not_allowed", ("PUT", CHAT, "{}", [])),
    "no model": (400, "model_required", ("POST", CHAT, '{"messages":[]}', [])),
    "no JSON": (400, "malformed_body", ("POST", CHAT, '{"model":', [])),
    "not an object": (400, None, ("POST", CHAT, '[1]', [])),
    "model twice": (400, None, ("POST", CHAT, '{"model":"a","model":"b"}', [])),
    "model twice, once in disguise": (400, None, ("POST", CHAT, '{"model":"a","mo\\u0064el":"b"}', [])),
    "bad UTF-8": (400, "malformed_body", ("POST", CHAT, b'{"model":"a\xff"}', [])),
    "compressed": (415, "unsupported_content_encoding",
                   ("POST", CHAT, gzip.compress(b'{"model":"a"}'), [("content-encoding", "gzip"), ("content-type", "application/json")])),
    "header too large": (431, "header_too_large", ("GET", "/v1/models", "", [("x-big", "y" * 100000)])),
    "too many headers": (431, "header_too_large", ("GET", "/v1/models", "", [(f"x-{number}", "y") for number in range(300)])),
    "target too long": (414, "uri_too_long", ("GET", "/v1/models?" + "q" * 60000, "", [])),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_look_like_openai(running, case):
    status, code, request = ERRORS[case]
    with running.client() as client:
        answer = client.ask(*request)
    error = json.loads(answer.body)["error"]
    assert answer.status == status and set(error) == {"message", "type", "param", "code"}
    assert answer.get("content-type").startswith("application/json") and answer.get("x-request-id")
    assert code is None or error["code"] == code


def test_unknown_model(gateway, upstream):
    server = upstream(echo)
    running = gateway(server, models=[{"name": "known", "targets": [{"target": "first"}]}])
    with running.client() as client:
        answer = client.ask("POST", CHAT, answers.ask(model="unknown"))
        assert answer.status == 404 and json.loads(answer.body)["error"]["code"] == "model_not_found"
        assert "unknown" in json.loads(answer.body)["error"]["message"]
        assert client.ask("POST", CHAT, answers.ask(model="known")).status == 200


@pytest.mark.parametrize("how", ["length", "chunked"])
def test_body_too_large(gateway, upstream, how):
    running = gateway(upstream(echo), limits={"body": "64KiB"})
    body = answers.ask(text="x" * 100000).encode()
    with running.client() as client:
        if how == "length":
            client.send(wire.request("POST", CHAT, headers=[("content-length", str(len(body))), ("content-type", "application/json")]))
        else:
            client.send(wire.request("POST", CHAT, headers=[("transfer-encoding", "chunked"), ("content-type", "application/json")]))
            client.send(f"{len(body):x}\r\n".encode() + body[:80000])
        assert client.answer("POST").status == 413


def test_body_at_the_limit(gateway, upstream):
    body = answers.ask(text="").encode()
    fill = 64 * 1024 - len(body)
    running = gateway(upstream(echo), limits={"body": "64KiB"})
    with running.client() as client:
        assert client.ask("POST", CHAT, answers.ask(text="x" * fill)).status == 200
        assert client.ask("POST", CHAT, answers.ask(text="x" * (fill + 1))).status == 413


def test_large_bodies_arrive_whole(gateway, upstream):
    """Eight megabytes each way, larger than every buffer between."""
    running = gateway(upstream(echo))
    text = "0123456789abcdef" * (1 << 19)
    with running.client() as client:
        assert text_of(client.ask("POST", CHAT, answers.ask(text=text))) == text


def test_everything_else_arrives_byte_for_byte(gateway, upstream):
    """Only the model's name is edited; spelling of numbers, spacing, unknown members and their order stay."""
    server = upstream(lambda received, connection: connection.answer(200, answers.chat()))
    running = gateway(server, models=[{"name": "alias", "targets": [{"target": "first", "deployment": "real-name"}]}])
    body = b'{ "temperature":1.0e-0,\t"model" : "alias", "messages":[{"role":"user","content":"\\u00e9 \xc3\xa9 \\/"}], "x":[1.50,{}] }\n'
    with running.client() as client:
        assert client.ask("POST", CHAT, body).status == 200
    (received,) = server.requests
    assert received.body == body.replace(b'"alias"', b'"real-name"')
    assert dict(received.headers)["content-length"] == str(len(received.body))


@pytest.mark.parametrize("targets", [1, 2])
def test_answer_headers(gateway, upstream, targets):
    """What belongs to one hop, or would mislead, does not reach the client; the rest does. Rate limits of one of several targets mislead."""
    dropped = [("x-hop", "1"), ("keep-alive", "timeout=5"), ("alt-svc", "h3"), ("set-cookie", "a=b"),
               ("strict-transport-security", "max-age=1")]
    kept = [("apim-request-id", "abc"), ("x-ms-region", "East US 2"), ("openai-processing-ms", "12")]
    (dropped if targets > 1 else kept).append(("x-ratelimit-remaining-tokens", "5"))
    server = upstream(lambda received, connection: connection.answer(200, answers.chat(), [("connection", "x-hop"), *dropped, *kept]))
    with gateway(*[server] * targets).client() as client:
        names = dict(client.ask("POST", CHAT, answers.ask()).headers)
    assert not [name for name, _ in dropped if name in names]
    assert names.get("connection") != "x-hop"
    assert dict(kept).items() <= names.items()


def test_half_close_means_gone(gateway, upstream):
    """A FIN after a complete request: the client is gone, unless the listener says otherwise."""
    gone = threading.Event()

    def silent(_, connection):
        if connection.is_closed():
            gone.set()

    server = upstream(silent)
    with gateway(server).client() as client:
        client.send(wire.request("POST", CHAT, answers.ask()))
        server.wait(1)
        client.sock.shutdown(socket.SHUT_WR)
        assert gone.wait(wire.TIMEOUT)
