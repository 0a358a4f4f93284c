# SPDX-License-Identifier: Apache-2.0
"""
No ambiguous HTTP/1.1 message is accepted or forwarded (RFC 9112, and the smuggling classes CL.TE, TE.CL, TE.TE, CL.0): each is refused
with 400 or another error, the connection ends, and no byte of it reaches the upstream.
"""
import json

import pytest
from harness import answers, wire

BODY = answers.ask()
PATH = "/v1/chat/completions"
SMUGGLED = "GET /v1/models HTTP/1.1\r\nhost: smuggled\r\n\r\n"


def post(*lines, body=BODY):
    return "\r\n".join([f"POST {PATH} HTTP/1.1", "host: x", "content-type: application/json", *lines]) + "\r\n\r\n" + body


def chunked(*chunks, fields=("transfer-encoding: chunked",)):
    return post(*fields, body="".join(chunks))


LENGTH = f"content-length: {len(BODY)}"
WHOLE = f"{len(BODY):x}\r\n{BODY}\r\n0\r\n\r\n"
CASES = {
    "length and chunked": post(LENGTH, "transfer-encoding: chunked", body=WHOLE),
    "chunked and length": post("transfer-encoding: chunked", LENGTH, body=WHOLE),
    "two lengths": post(LENGTH, "content-length: 0"),
    "two equal lengths": post(LENGTH, LENGTH),
    "length list": post(f"content-length: {len(BODY)}, {len(BODY)}"),
    "signed length": post(f"content-length: +{len(BODY)}"),
    "negative length": post("content-length: -1"),
    "hex length": post(f"content-length: 0x{len(BODY):x}"),
    "length with a word": post(f"content-length: {len(BODY)} bytes"),
    "empty length": post("content-length: "),
    "length overflow": post("content-length: 18446744073709551616"),
    "length beyond 63 bits": post("content-length: 9223372036854775808"),
    "unknown coding": post("transfer-encoding: gzip", body=WHOLE),
    "gzip then chunked": post("transfer-encoding: gzip, chunked", body=WHOLE),
    "chunked twice": post("transfer-encoding: chunked, chunked", body=WHOLE),
    "chunked in two fields": post("transfer-encoding: chunked", "transfer-encoding: identity", body=WHOLE),
    "chunked not last": post("transfer-encoding: chunked, identity", body=WHOLE),
    "disguised coding, prefix": post("transfer-encoding: xchunked", body=WHOLE),
    "disguised coding, quotes": post('transfer-encoding: "chunked"', body=WHOLE),
    "disguised coding, vertical tab": post("transfer-encoding:\x0bchunked", body=WHOLE),
    "space before colon": post("transfer-encoding : chunked", body=WHOLE),
    "tab before colon": post("content-length\t: 5"),
    "folded field": post("x-a: b\r\n folded: c", LENGTH),
    "folded coding": post("transfer-encoding:\r\n chunked", body=WHOLE),
    "line begins with space": f"POST {PATH} HTTP/1.1\r\n host: x\r\n{LENGTH}\r\n\r\n{BODY}",
    "bare line feed after a field": post("x-a: b\nx-b: c", LENGTH),
    "bare line feeds only": post(LENGTH).replace("\r\n", "\n"),
    "bare carriage return in a value": post("x-a: b\rtransfer-encoding: chunked", LENGTH),
    "NUL in a value": post("x-a: b\x00c", LENGTH),
    "NUL in a name": post("x\x00a: b", LENGTH),
    "control byte in a value": post("x-a: b\x01c", LENGTH),
    "empty name": post(": value", LENGTH),
    "name with a space": post("x a: b", LENGTH),
    "name with non-ASCII": post("x-\xe4: b", LENGTH),
    "field without colon": post("nonsense", LENGTH),
    "chunk size with 0x": chunked(f"0x{len(BODY):x}\r\n{BODY}\r\n0\r\n\r\n"),
    "chunk size with sign": chunked(f"+{len(BODY):x}\r\n{BODY}\r\n0\r\n\r\n"),
    "chunk size with space": chunked(f"{len(BODY):x} \r\n{BODY}\r\n0\r\n\r\n").replace(" \r\n", "  x\r\n"),
    "empty chunk size": chunked(f"\r\n{BODY}\r\n0\r\n\r\n"),
    "chunk size overflow": chunked(f"1000000000000000{len(BODY):x}\r\n{BODY}\r\n0\r\n\r\n"),
    "chunk longer than its size": chunked(f"{len(BODY) - 1:x}\r\n{BODY}\r\n0\r\n\r\n"),
    "chunk line ends with line feed": chunked(f"{len(BODY):x}\n{BODY}\r\n0\r\n\r\n"),
    "chunk data ends with line feed": chunked(f"{len(BODY):x}\r\n{BODY}\n0\r\n\r\n"),
    "bare carriage return in an extension": chunked(f"{len(BODY):x};a=\rb\r\n{BODY}\r\n0\r\n\r\n"),
    "line feed in an extension": chunked(f"{len(BODY):x};a=\nb\r\n{BODY}\r\n0\r\n\r\n"),
    "trailer with a bare line feed": chunked(f"{len(BODY):x}\r\n{BODY}\r\n0\r\nx: y\n\r\n"),
    "no host": f"POST {PATH} HTTP/1.1\r\n{LENGTH}\r\n\r\n{BODY}",
    "two hosts": post("host: y", LENGTH),
    "absolute target and another host": f"POST http://other{PATH} HTTP/1.1\r\nhost: x\r\n{LENGTH}\r\n\r\n{BODY}",
    "host with a space": f"POST {PATH} HTTP/1.1\r\nhost: a b\r\n{LENGTH}\r\n\r\n{BODY}",
    "host with a user": f"POST {PATH} HTTP/1.1\r\nhost: a@b\r\n{LENGTH}\r\n\r\n{BODY}",
    "space in the target": f"POST {PATH} x HTTP/1.1\r\nhost: x\r\n{LENGTH}\r\n\r\n{BODY}",
    "two spaces": f"POST  {PATH} HTTP/1.1\r\nhost: x\r\n{LENGTH}\r\n\r\n{BODY}",
    "control byte in the target": f"POST {PATH}\x01 HTTP/1.1\r\nhost: x\r\n{LENGTH}\r\n\r\n{BODY}",
    "no version": f"GET {PATH}\r\nhost: x\r\n\r\n",
    "version with a space": f"POST {PATH} HTTP/ 1.1\r\nhost: x\r\n{LENGTH}\r\n\r\n{BODY}",
    "version in lower case": f"POST {PATH} http/1.1\r\nhost: x\r\n{LENGTH}\r\n\r\n{BODY}",
    "version 1.2": f"POST {PATH} HTTP/1.2\r\nhost: x\r\n{LENGTH}\r\n\r\n{BODY}",
    "version 2.0": f"POST {PATH} HTTP/2.0\r\nhost: x\r\n{LENGTH}\r\n\r\n{BODY}",
    "method is no token": f"P(ST {PATH} HTTP/1.1\r\nhost: x\r\n{LENGTH}\r\n\r\n{BODY}",
    "chunked in HTTP/1.0": f"POST {PATH} HTTP/1.0\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{WHOLE}",
    "bytes before the request line": f"\x00POST {PATH} HTTP/1.1\r\nhost: x\r\n{LENGTH}\r\n\r\n{BODY}",
}
# Tolerated by RFC 9112 without doubt about where the message ends, or refused: either is sound. Not one of these may be forwarded twice.
EITHER = {"version 1.2"}


@pytest.fixture
def server(upstream):
    return upstream(lambda received, connection: connection.answer(200, answers.chat()))


@pytest.fixture
def running(gateway, server):
    return gateway(server)


@pytest.mark.parametrize("case", CASES)
def test_is_refused(running, server, case):
    with running.client() as client:
        client.send((CASES[case] + SMUGGLED).encode("latin-1"))
        answer = client.answer("POST")
        rest = client.to_end()
    if case in EITHER and answer.status == 200:
        return
    assert answer.status in (400, 414, 417, 431, 501, 505), answer.status
    assert rest == b"", f"the connection went on: {rest!r}"
    assert not server.requests
    assert "error" in json.loads(answer.body)
    # Bystanders never notice.
    with running.client() as other:
        assert other.ask("POST", PATH, BODY).status == 200


def test_every_split_is_refused_alike(running, server):
    """A bad message in two writes, cut at every byte: the verdict does not depend on how it arrives."""
    message = CASES["length and chunked"].encode("latin-1")
    head = message.index(b"\r\n\r\n") + 4
    for cut in range(1, head, 3):
        with running.client() as client:
            client.send(message[:cut])
            client.send(message[cut:head])
            assert client.answer("POST").status == 400
    assert not server.requests


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
def test_dangerous_methods(running, server, method):
    with running.client() as client:
        assert client.ask(method, "/v1/models" if method == "TRACE" else "example.com:443").status in (400, 405, 501)
    assert not server.requests


def test_empty_lines_before_a_request_are_skipped(running):
    """RFC 9112 section 2.2."""
    with running.client() as client:
        client.send("\r\n" + wire.request("POST", PATH, BODY).decode())
        assert client.answer("POST").status == 200
