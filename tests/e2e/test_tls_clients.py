# SPDX-License-Identifier: Apache-2.0
"""TLS towards clients: versions, ALPN, client certificates, and certificates that are replaced while streams run."""
import contextlib
import os
import shutil
import socket
import ssl
import threading

import pytest
from harness import answers, certificates as making, h2, wire

CHAT = "/v1/chat/completions"


def fine(_, connection):
    connection.answer(200, answers.chat())


def context(ca, version=None, alpn=(), certificate=None):
    made = ssl.create_default_context(cafile=str(ca))
    if version:
        made.minimum_version = made.maximum_version = version
    if alpn:
        made.set_alpn_protocols(list(alpn))
    if certificate:
        made.load_cert_chain(*certificate)
    return made


def connect(running, made):
    sock = socket.create_connection(("127.0.0.1", running.port), wire.TIMEOUT)
    return made.wrap_socket(sock, server_hostname="localhost")


def ask(running, made):
    with wire.Stream(connect(running, made)) as client:
        client.send(wire.request("POST", CHAT, answers.ask(), [("connection", "close")]))
        return client.head().status


@pytest.fixture
def secured(gateway, upstream, certificates):
    """secured(handler, **tls): a gateway with TLS towards clients."""
    def start(handler=fine, listener=None, **tls):
        files = {"certificate": str(certificates.certificate), "key": str(certificates.key)}
        return gateway(upstream(handler), listener={"tls": {**files, **tls}, **(listener or {})})

    return start


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("alpn, chosen", [((), None), (["http/1.1"], "http/1.1"), (["h2"], "h2"), (["h2", "http/1.1"], "h2"),
                                          (["http/1.1", "h2"], "h2")])
def test_versions_and_alpn(secured, certificates, version, alpn, chosen):
    running = secured()
    sock = connect(running, context(certificates.ca, version, alpn))
    assert sock.version() == version.name.replace("_", ".") and sock.selected_alpn_protocol() == chosen
    if chosen == "h2":
        with h2.Client(running.port, sock=sock) as client:
            client.ask(1, answers.ask())
            assert client.answer(1)[0]
        return
    with wire.Stream(sock) as client:
        client.send(wire.request("POST", CHAT, answers.ask()))
        assert client.head().status == 200


@pytest.mark.parametrize("setting, version, good", [
    ("1.3", ssl.TLSVersion.TLSv1_2, False), ("1.3", ssl.TLSVersion.TLSv1_3, True), ("1.2", ssl.TLSVersion.TLSv1_2, True)])
def test_lowest_version(secured, certificates, setting, version, good):
    running = secured(min_version=setting)
    if good:
        assert ask(running, context(certificates.ca, version)) == 200
    else:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            ask(running, context(certificates.ca, version))


def test_http_2_can_be_off(secured, certificates):
    running = secured(listener={"http2": False})
    sock = connect(running, context(certificates.ca, alpn=["h2", "http/1.1"]))
    assert sock.selected_alpn_protocol() == "http/1.1"
    sock.close()


@pytest.mark.parametrize("wish", ["optional", "required"])
@pytest.mark.parametrize("shown", ["none", "good", "foreign"])
def test_client_certificates(secured, certificates, tmp_path_factory, wish, shown):
    running = secured(client_ca=str(certificates.ca), client_certificate=wish)
    foreign = making.make(tmp_path_factory.mktemp("foreign"))
    files = {"none": None, "good": (certificates.certificate, certificates.key), "foreign": (foreign.certificate, foreign.key)}[shown]
    made = context(certificates.ca, certificate=files)
    if shown == "good" or (shown == "none" and wish == "optional"):
        assert ask(running, made) == 200
        return
    with pytest.raises((ssl.SSLError, ConnectionError, wire.Closed)):
        ask(running, made)


def test_plain_http_on_a_tls_port(secured):
    """Nothing but an end; and the next client is served."""
    running = secured()
    with running.client() as client:
        client.send(wire.request("GET", "/v1/models"))
        assert b"HTTP/1.1 200" not in client.to_end()


def test_unfinished_handshakes_end(secured):
    running = secured()
    for beginning in (b"", b"\x16", b"\x16\x03\x01\x02\x00\x01", b"\x80\x2e\x01", os.urandom(300)):
        with running.client() as client, contextlib.suppress(OSError):
            client.send(beginning)
    with pytest.raises(ssl.SSLError):
        ask(running, ssl.create_default_context())


def replace(source, target):
    """As an orderly tool does, and the kubelet: the new file takes the old one's place at once."""
    beside = target.with_suffix(".new")
    shutil.copy(source, beside)
    os.replace(beside, target)


def serial(running, made):
    with connect(running, made) as sock:
        return sock.getpeercert()["serialNumber"]


def test_replaced_certificate(gateway, upstream, certificates, tmp_path_factory):
    """The new one is served soon, and a stream that began under the old one goes on."""
    proceed = threading.Event()

    def handle(_, connection):
        connection.start_stream()
        connection.piece(answers.chunk({"content": "before"}))
        assert proceed.wait(wire.TIMEOUT)
        connection.piece(answers.chunk({"content": "after"}) + answers.event("[DONE]"))
        connection.end()

    folder = tmp_path_factory.mktemp("served")
    newer = making.make(tmp_path_factory.mktemp("newer"))
    for name in ("certificate", "key"):
        shutil.copy(getattr(certificates, name), folder / getattr(certificates, name).name)
    served = certificates._replace(certificate=folder / certificates.certificate.name, key=folder / certificates.key.name)
    running = gateway(upstream(handle), listener={"tls": {"certificate": str(served.certificate), "key": str(served.key)}})
    both = context(certificates.ca)
    both.load_verify_locations(newer.ca)
    old = serial(running, both)
    with wire.Stream(connect(running, both)) as client:
        client.send(wire.request("POST", CHAT, answers.ask(stream=True)))
        client.head()
        body = client.chunk()
        # For a moment the key does not fit: the last good pair stays.
        replace(newer.key, served.key)
        assert serial(running, both) == old
        replace(newer.certificate, served.certificate)
        running.wait_until(lambda: serial(running, both) != old)
        proceed.set()
        body += client.chunked()
    assert b"before" in body and b"after" in body and body.endswith(b"data: [DONE]\n\n")
    served.certificate.write_text("broken")
    running.wait_until(lambda: "certificate" in "".join(running.stderr))
    assert serial(running, both) != old
