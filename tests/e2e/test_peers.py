# SPDX-License-Identifier: Apache-2.0
"""Who the client is: sockets of every kind, PROXY headers and X-Forwarded-For, both believed from trusted peers alone."""
import contextlib
import json
import socket
import struct

import pytest
from harness import answers, wire

CHAT = "/v1/chat/completions"
HERE, ELSEWHERE = ["127.0.0.0/8"], ["192.0.2.0/24"]


def fine(_, connection):
    connection.answer(200, answers.chat())


def version_2(command, family, addresses, extra=b""):
    body = addresses + extra
    return b"\r\n\r\n\0\r\nQUIT\n" + bytes([0x20 | command, family]) + struct.pack("!H", len(body)) + body


V4 = socket.inet_aton("198.51.100.7") + socket.inet_aton("203.0.113.1") + struct.pack("!HH", 5555, 443)
V6 = socket.inet_pton(socket.AF_INET6, "2001:db8::7") + socket.inet_pton(socket.AF_INET6, "2001:db8::1") + struct.pack("!HH", 5555, 443)
HEADERS = {
    "1, IPv4": (b"PROXY TCP4 198.51.100.7 203.0.113.1 5555 443\r\n", "198.51.100.7"),
    "1, IPv6": (b"PROXY TCP6 2001:db8::7 2001:db8::1 5555 443\r\n", "2001:db8::7"),
    "1, unknown": (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    "2, IPv4": (version_2(1, 0x11, V4), "198.51.100.7"),
    "2, IPv4 with more": (version_2(1, 0x11, V4, b"\x04\0\x01x" * 9), "198.51.100.7"),
    "2, IPv6": (version_2(1, 0x21, V6), "2001:db8::7"),
    "2, local": (version_2(0, 0, b""), "127.0.0.1"),
}


def peer_of(running, *, before=b"", fields=(), pieces=1):
    """The peer that the access log names for a request that is served."""
    with running.client() as client:
        size = -(-len(before) // pieces) if before else 1
        for place in range(0, len(before), size):
            client.send(before[place:place + size])
        assert client.ask("POST", CHAT, answers.ask(), fields).status == 200
    return running.access(1)[-1]["peer"]


@pytest.mark.parametrize("pieces", [1, 9])
@pytest.mark.parametrize("case", HEADERS)
def test_proxy_header_of_a_trusted_peer(gateway, upstream, case, pieces):
    header, expected = HEADERS[case]
    running = gateway(upstream(fine), listener={"proxy_protocol": True, "trusted_peers": HERE})
    assert peer_of(running, before=header, pieces=pieces).strip("[]").startswith(expected)


@pytest.mark.parametrize("garbage", [
    b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"PROXY TCP4 1.2.3.4\r\n" + b"x" * 200, b"PROXY TCP4 999.1.1.1 1.1.1.1 1 1\r\n",
    b"PROXY " + b"x" * 200, version_2(1, 0x11, V4[:8]), b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c" + V4])
def test_connection_without_a_good_proxy_header_is_closed(gateway, upstream, garbage):
    server = upstream(fine)
    running = gateway(server, listener={"proxy_protocol": True, "trusted_peers": HERE})
    with running.client() as client:
        client.send(garbage)
        assert client.to_end() == b""
    assert not server.requests


def test_proxy_header_of_a_stranger(gateway, upstream):
    """Nobody but the load balancer may say who the client is."""
    server = upstream(fine)
    running = gateway(server, listener={"proxy_protocol": True, "trusted_peers": ELSEWHERE})
    with running.client() as client:
        with contextlib.suppress(OSError):
            client.send(HEADERS["1, IPv4"][0] + wire.request("POST", CHAT, answers.ask()))
        assert b" 200 " not in client.to_end()
    assert not server.requests


@pytest.mark.parametrize("trusted, value, expected", [
    (HERE, "198.51.100.7", "198.51.100.7"),
    (HERE, "203.0.113.9, 198.51.100.7", "198.51.100.7"),
    (HERE, "198.51.100.7, 127.0.0.9", "198.51.100.7"),
    (HERE, "2001:db8::7", "2001:db8::7"),
    (HERE, "nonsense", "127.0.0.1"),
    (HERE, "198.51.100.7, nonsense", "127.0.0.1"),
    (ELSEWHERE, "198.51.100.7", "127.0.0.1"),
    (None, "198.51.100.7", "127.0.0.1"),
])
def test_x_forwarded_for(gateway, upstream, trusted, value, expected):
    server = upstream(fine)
    running = gateway(server, listener={"trusted_peers": trusted} if trusted else {})
    assert peer_of(running, fields=[("x-forwarded-for", value)]).startswith(expected)
    assert value.encode() not in server.requests[0].raw


def test_unix_socket(gateway, upstream, tmp_path_factory):
    path = tmp_path_factory.mktemp("s") / "postern.sock"
    running = gateway(upstream(fine), listener={"address": f"unix:{path}", "mode": "0600"})
    assert path.stat().st_mode & 0o777 == 0o600
    for _ in range(2):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(path))
        with wire.Stream(sock) as client:
            client.send(wire.request("POST", CHAT, answers.ask()))
            head = client.head()
            assert head.status == 200
    assert "unix" in running.access(2)[0]["peer"]
    running.stop()
    assert not path.exists()


def has_ipv6():
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 loopback here")
def test_ipv6_on_both_sides(gateway, upstream):
    server = upstream(fine, host="::1")
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as probe:
        port = probe.getsockname()[1]
    running = gateway(server, listener={"address": f"[::1]:{port}"})
    with wire.Client(port, "::1") as client:
        assert json.loads(client.ask("POST", CHAT, answers.ask()).body)["object"] == "chat.completion"
    assert running.access(1)[0]["peer"] == "::1"
    assert dict(server.requests[0].headers)["host"] == server.url.removeprefix("http://")
