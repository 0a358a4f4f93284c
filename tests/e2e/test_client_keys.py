# SPDX-License-Identifier: Apache-2.0
"""The client's credentials stop at the gateway, whatever form they have and wherever the request goes."""
import base64

import pytest
from harness import answers, wire
from harness.process import CANARY_CLIENT_KEY, CANARY_TARGET_KEY

CHAT = "/v1/chat/completions"
ENCODED = base64.b64encode(f"user:{CANARY_CLIENT_KEY}".encode()).decode()
# Header fields and query, one form of a client's key each.
FORMS = {
    "bearer": ([("Authorization", f"Bearer {CANARY_CLIENT_KEY}")], ""),
    "basic": ([("Authorization", f"Basic {ENCODED}")], ""),
    "api-key": ([("Api-Key", CANARY_CLIENT_KEY)], ""),
    "api-key twice": ([("api-key", CANARY_CLIENT_KEY), ("api-key", CANARY_CLIENT_KEY)], ""),
    "x-api-key": ([("X-API-Key", CANARY_CLIENT_KEY)], ""),
    "API Management": ([("Ocp-Apim-Subscription-Key", CANARY_CLIENT_KEY)], ""),
    "proxy-authorization": ([("Proxy-Authorization", f"Bearer {CANARY_CLIENT_KEY}")], ""),
    "cookie": ([("Cookie", f"session={CANARY_CLIENT_KEY}")], ""),
    "subprotocol": ([("Sec-WebSocket-Protocol", f"realtime, openai-insecure-api-key.{CANARY_CLIENT_KEY}, openai-beta.realtime-v1")], ""),
    "only subprotocol": ([("Sec-WebSocket-Protocol", f"openai-insecure-api-key.{CANARY_CLIENT_KEY}")], ""),
    "query": ([], f"?api-key={CANARY_CLIENT_KEY}"),
    "query among others": ([], f"?a=1&API-Key={CANARY_CLIENT_KEY}&b=2"),
    "query in escapes": ([], f"?%61pi%2Dkey={CANARY_CLIENT_KEY}&b=2"),
    "subscription key in the query": ([], f"?subscription-key={CANARY_CLIENT_KEY}"),
    "named by connection": ([("Connection", "x-secret"), ("X-Secret", CANARY_CLIENT_KEY)], ""),
}


@pytest.fixture
def server(upstream):
    return upstream(lambda received, connection: connection.answer(200, answers.chat()))


@pytest.mark.parametrize("path", [CHAT, "/openai/deployments/m/chat/completions", "/anything/else"])
@pytest.mark.parametrize("form", FORMS)
def test_stops_here(gateway, server, form, path):
    fields, query = FORMS[form]
    if path.startswith("/openai"):
        query = f"{query}&api-version=2024-10-21" if query else "?api-version=2024-10-21"
    running = gateway(server, passthrough=[{"path": "/", "target": "first"}])
    with running.client() as client:
        assert client.ask("POST", path + query, answers.ask(), [*fields, ("x-harmless", "kept")]).status == 200
    (received,) = server.requests
    assert CANARY_CLIENT_KEY.encode() not in received.raw and ENCODED.encode() not in received.raw
    assert ("authorization", f"Bearer {CANARY_TARGET_KEY}") in received.headers and ("x-harmless", "kept") in received.headers
    if form == "subprotocol":
        assert ("sec-websocket-protocol", "realtime, openai-beta.realtime-v1") in received.headers
    if "among" in form:
        assert received.target == f"{path}?a=1&b=2" or not path.startswith("/any")


def test_a_query_without_a_key_is_not_touched(gateway, server):
    running = gateway(server, passthrough=[{"path": "/", "target": "first"}])
    target = "/tokenize?a=%41&&b=+x&c&api=1"
    with running.client() as client:
        client.ask("POST", target, "{}")
    assert server.requests[0].target == target


def test_clients_own_key_goes_on_only_where_it_is_the_credential(gateway, server):
    def edit(targets):
        targets[0]["credential"] = {"client": {}}

    running = gateway(server, edit=edit)
    with running.client() as client:
        client.ask("POST", CHAT, answers.ask(), [("authorization", "Bearer theirs"), ("cookie", f"k={CANARY_CLIENT_KEY}")])
    (received,) = server.requests
    assert ("authorization", "Bearer theirs") in received.headers and CANARY_CLIENT_KEY.encode() not in received.raw


@pytest.mark.parametrize("fields, logged", [
    ([("x-request-id", "of-target")], "of-target"), ([("apim-request-id", "of-azure")], "of-azure"),
    ([("apim-request-id", "of-azure"), ("x-request-id", "of-target")], "of-target"),
    ([("x-request-id", 'a"\\b' + "\u00e9" + "x" * 3000)], None)])
def test_the_targets_request_id_is_logged(gateway, upstream, fields, logged):
    running = gateway(upstream(lambda received, connection: connection.answer(200, answers.chat(), fields)))
    with running.client() as client:
        client.ask("POST", CHAT, answers.ask())
    (line,) = running.access(1)
    if logged:
        assert line["upstream_request_id"] == logged
    else:
        assert len(line["upstream_request_id"]) <= 130


def test_request_ids_of_every_attempt_are_logged(gateway, upstream):
    first = upstream(lambda received, connection: connection.answer(503, answers.error(), [("x-request-id", "id-1")]))
    second = upstream(lambda received, connection: connection.answer(200, answers.chat(), [("x-request-id", "id-2")]))
    running = gateway(first, second)
    with running.client() as client:
        client.ask("POST", CHAT, answers.ask())
    (line,) = running.access(1)
    assert line["upstream_request_id"] == "id-2" and line["attempts"][0]["upstream_request_id"] == "id-1"


def test_upgrade_is_not_forwarded(gateway, server):
    """A WebSocket handshake is not spoken yet: nothing of it may reach the target, and the client is told."""
    fields = [("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
              ("sec-websocket-protocol", f"realtime, openai-insecure-api-key.{CANARY_CLIENT_KEY}")]
    with gateway(server).client() as client:
        client.send(wire.request("GET", "/v1/realtime?model=m", headers=fields))
        assert client.answer().status == 501
    assert not server.requests
