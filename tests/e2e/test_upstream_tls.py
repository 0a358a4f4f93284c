# SPDX-License-Identifier: Apache-2.0
"""TLS towards targets: whom the gateway believes, what it says when it does not, and HTTP/2 where the target agrees to it."""
import json
import socket
import ssl
import threading

import pytest
from harness import answers, certificates as making, h2, process

CHAT = "/v1/chat/completions"


def fine(received, connection):
    connection.answer(200, answers.chat(dict(received.headers)["host"]))


def context(files, alpn=()):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(files.certificate, files.key)
    if alpn:
        made.set_alpn_protocols(list(alpn))
    return made


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A certificate for another host, by another authority."""
    return making.make(tmp_path_factory.mktemp("other"), names="DNS:other.test")


def ask(running):
    with running.client() as client:
        return client.ask("POST", CHAT, answers.ask())


def with_tls(url=None, **tls):
    """Edits the target: its URL's host, and `tls`."""
    def edit(targets):
        if url:
            targets[0]["openai"]["url"] = url
        if tls:
            targets[0]["tls"] = {name: str(value) for name, value in tls.items()}

    return edit


def test_private_authority(gateway, upstream, certificates):
    server = upstream(fine, tls=context(certificates))
    assert ask(gateway(server, edit=with_tls(ca=certificates.ca))).status == 200


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_name_and_address(gateway, upstream, certificates, host):
    server = upstream(fine, tls=context(certificates))
    url = f"https://{host}:{server.port}/v1"
    answer = ask(gateway(server, edit=with_tls(url, ca=certificates.ca)))
    assert json.loads(answer.body)["choices"][0]["message"]["content"] == f"{host}:{server.port}"


def test_server_name(gateway, upstream, other):
    """Another name than the URL's, for a target that is reached by an address of its own."""
    server = upstream(fine, tls=context(other))
    assert ask(gateway(server, edit=with_tls(ca=other.ca, server_name="other.test"))).status == 200


def test_sni(gateway, upstream, certificates):
    asked = []
    made = context(certificates)
    made.sni_callback = lambda sock, name, made: asked.append(name)
    server = upstream(fine, tls=made)
    assert ask(gateway(server, edit=with_tls(f"https://localhost:{server.port}/v1", ca=certificates.ca))).status == 200
    assert asked == ["localhost"]


def refused(running, *words):
    answer = ask(running)
    assert answer.status == 502 and json.loads(answer.body)["error"]["code"] == "upstream_tls_failed"
    (line,) = running.access(1)
    assert line["attempts"][0]["fault"] == "UPSTREAM_TLS"
    detail = line["attempts"][0]["detail"].lower()
    assert all(word in detail for word in words), detail


def test_unknown_authority(gateway, upstream, certificates):
    server = upstream(fine, tls=context(certificates))
    refused(gateway(server), "certificate", "unable to get local issuer certificate")
    assert not server.requests


def test_wrong_host(gateway, upstream, other):
    server = upstream(fine, tls=context(other))
    refused(gateway(server, edit=with_tls(f"https://localhost:{server.port}/v1", ca=other.ca)), "certificate", "hostname mismatch")
    assert not server.requests


def test_target_speaks_no_tls(gateway, owned, certificates):
    """As an HTTP server does when it gets a handshake."""
    listener = owned.enter_context(socket.create_server(("127.0.0.1", 0)))

    def serve():
        sock, _ = listener.accept()
        with sock:
            sock.recv(1)
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")

    threading.Thread(target=serve, daemon=True).start()
    target = {"name": "plain", "openai": {"url": f"https://127.0.0.1:{listener.getsockname()[1]}/v1"}, "tls": {"ca": str(certificates.ca)}}
    refused(gateway(targets=[target], models=[{"name": "*", "targets": ["plain"]}]))


def test_next_target_when_not_believed(gateway, upstream, certificates):
    first, second = upstream(fine, tls=context(certificates)), upstream(fine)
    running = gateway(first, second)
    assert ask(running).status == 200 and len(second.requests) == 1


def test_http_2_by_alpn(gateway, owned, certificates):
    def handle(connection, stream):
        connection.send(h2.frame(h2.HEADERS, h2.END_HEADERS, stream, h2.response(200, ("content-type", "application/json"))) +
                        h2.frame(h2.DATA, h2.END_STREAM, stream, answers.chat().encode()))

    server = h2.Upstream(handle, tls=context(certificates, ["h2"]))
    owned.callback(server.close)
    running = gateway(server, edit=with_tls(ca=certificates.ca))
    for _ in range(3):
        assert ask(running).status == 200
    assert len(server.connections) == 1


def test_http_1_1_where_the_target_wants_it(gateway, upstream, certificates):
    server = upstream(fine, tls=context(certificates, ["http/1.1"]))
    assert ask(gateway(server, edit=with_tls(ca=certificates.ca))).status == 200


@pytest.mark.parametrize("tls", [True, False])
def test_one_gateway_behind_another(gateway, upstream, certificates, tmp_path_factory, owned, tls):
    """HTTP/2 between two of our own: streams, their usage and their ends arrive as they were sent."""
    events = answers.chat_stream(["one ", "two "], with_usage=False)

    def stream(_, connection):
        connection.start_stream()
        for event in events:
            connection.piece(event)
        connection.end()

    inner_listener = {"tls": {"certificate": str(certificates.certificate), "key": str(certificates.key)}} if tls else {}
    server = upstream(stream)
    inner = process.Gateway(tmp_path_factory.mktemp("inner"), {
        "targets": [{"name": "model", "openai": {"url": f"{server.url}/v1"}}], "models": [{"name": "*", "targets": ["model"]}],
        "listener": inner_listener})
    owned.callback(inner.stop)
    target = {"name": "inner", "openai": {"url": f"http{'s' if tls else ''}://127.0.0.1:{inner.port}/v1"}, "http_version": "2"}
    if tls:
        target["tls"] = {"ca": str(certificates.ca)}
    outer = gateway(targets=[target], models=[{"name": "*", "targets": ["inner"]}])
    with outer.client() as client:
        for _ in range(3):
            assert client.ask("POST", CHAT, answers.ask(stream=True)).body.decode() == "".join(events)
    assert [line["outcome"] for line in inner.access(3)] == ["completed"] * 3
    assert outer.access(3)[0]["id"] == inner.access(3)[0]["id"]
