# SPDX-License-Identifier: Apache-2.0
"""What happens when a target does not do what it should: other attempts, cool-downs, and what the client finally gets."""
import json
import types

import pytest
from harness import answers, upstream as upstreams
from harness.process import CANARY_CLIENT_KEY, CANARY_TARGET_KEY

CHAT = "/v1/chat/completions"


def says(text):
    """A handler that answers every request with this text, as a stream where asked."""
    def handle(received, connection):
        if json.loads(received.body).get("stream"):
            connection.start_stream()
            for event in answers.chat_stream([text]):
                connection.piece(event)
            connection.end()
        else:
            connection.answer(200, answers.chat(text))

    return handle


def refuses(status, **headers):
    fields = [(name.replace("_", "-"), str(value)) for name, value in headers.items()]
    return lambda received, connection: connection.answer(status, answers.error(f"status {status}"), fields)


def ask(gateway, **more):
    with gateway.client() as client:
        return client.ask("POST", CHAT, answers.ask(**more))


def text_of(answer):
    return json.loads(answer.body)["choices"][0]["message"]["content"]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_next_target_answers(gateway, upstream, status):
    first, second = upstream(refuses(status)), upstream(says("from the second"))
    answer = ask(gateway(first, second))
    assert (answer.status, text_of(answer)) == (200, "from the second")
    assert len(first.requests) == len(second.requests) == 1


@pytest.mark.parametrize("status", [400, 404, 409, 413, 422])
def test_client_errors_are_final(gateway, upstream, status):
    first, second = upstream(refuses(status)), upstream(says("never"))
    answer = ask(gateway(first, second))
    assert answer.status == status and json.loads(answer.body)["error"]["message"] == f"status {status}"
    assert not second.requests


def test_refused_connection(gateway, upstream, owned):
    holder, port = upstreams.refused_port()
    owned.callback(holder.close)
    dead = types.SimpleNamespace(url=f"http://127.0.0.1:{port}")
    second = upstream(says("alive"))
    assert text_of(ask(gateway(dead, second))) == "alive"


def test_nobody_can_be_connected(gateway, owned):
    holder, port = upstreams.refused_port()
    owned.callback(holder.close)
    answer = ask(gateway(types.SimpleNamespace(url=f"http://127.0.0.1:{port}")))
    assert answer.status == 502 and answer.get("x-should-retry") == "false"
    assert json.loads(answer.body)["error"]["code"] == "upstream_connect_failed"


def test_last_answer_is_the_clients(gateway, upstream):
    """With all attempts spent, the body of the last target arrives unchanged, with the word that trying again is in vain."""
    first, second = upstream(refuses(503)), upstream(refuses(500))
    answer = ask(gateway(first, second))
    assert answer.status == 500 and answer.body.decode() == answers.error("status 500")
    assert answer.get("x-should-retry") == "false"


def test_rate_limit_is_never_final(gateway, upstream):
    answer = ask(gateway(upstream(refuses(429, retry_after_ms=1500, retry_after=2))))
    assert answer.status == 429 and answer.get("x-should-retry") is None
    assert answer.get("retry-after-ms") == "1500" and answer.get("retry-after") == "2"


def test_cool_down(gateway, upstream):
    """A target that named a time to come back is left alone until then."""
    first, second = upstream(refuses(429, retry_after_ms=60000)), upstream(says("second"))
    running = gateway(first, second)
    for _ in range(5):
        assert text_of(ask(running)) == "second"
    assert len(first.requests) == 1 and len(second.requests) == 5


def test_attempts_are_bounded(gateway, upstream):
    servers = [upstream(refuses(500)) for _ in range(3)]
    assert ask(gateway(*servers, attempts={"max": 2})).status == 500
    assert [len(server.requests) for server in servers] == [1, 1, 0]


@pytest.mark.parametrize("status", [401, 403])
def test_own_credential_refused(gateway, upstream, status):
    """Not the client's key is bad but ours: no 401, which would send people to look at the wrong place."""
    answer = ask(gateway(upstream(refuses(status))))
    assert answer.status == 502 and json.loads(answer.body)["error"]["code"] == "upstream_credential_refused"


def test_stream_fails_over_before_its_first_content(gateway, upstream):
    """Head and role chunk have come, content not: another target may still take over, and the client sees one clean stream."""
    def dies_early(_, connection):
        connection.start_stream()
        connection.piece(answers.chunk({"role": "assistant", "content": ""}))
        connection.close()

    first, second = upstream(dies_early), upstream(says("whole"))
    answer = ask(gateway(first, second), stream=True)
    assert b"whole" in answer.body and answer.body.endswith(b"data: [DONE]\n\n")
    assert answer.body.count(b'"role":"assistant"') == 1


def test_error_event_before_content_fails_over(gateway, upstream):
    def errs(_, connection):
        connection.start_stream()
        connection.piece(answers.event(answers.error("overloaded")))
        connection.piece(answers.event("[DONE]"))
        connection.end()

    first, second = upstream(errs), upstream(says("whole"))
    answer = ask(gateway(first, second), stream=True)
    assert b"whole" in answer.body and b"overloaded" not in answer.body


def test_stale_connection_is_invisible(gateway, upstream):
    """A pooled connection that the upstream closes as the next request comes: one fresh try, which the client never sees."""
    def closes_after_first(received, connection):
        # The second request on a connection meets its end instead of an answer.
        if sum(1 for one in server.requests if one.connection == received.connection) > 1:
            connection.close()
        else:
            connection.answer(200, answers.chat(f"connection {connection.number}"))

    server = upstream(closes_after_first)
    running = gateway(server)
    with running.client() as client:
        assert text_of(client.ask("POST", CHAT, answers.ask())) == "connection 1"
        assert text_of(client.ask("POST", CHAT, answers.ask())) == "connection 2"
    assert [one.connection for one in server.requests] == [1, 1, 2]


def test_upstream_closes_a_fresh_connection(gateway, upstream):
    server = upstream(lambda received, connection: connection.close())
    answer = ask(gateway(server))
    assert answer.status == 502 and json.loads(answer.body)["error"]["code"] == "upstream_closed"


@pytest.mark.parametrize("garbage", [
    b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"])
def test_upstream_speaks_no_http(gateway, upstream, garbage):
    def handle(_, connection):
        connection.send(garbage)
        connection.close()

    answer = ask(gateway(upstream(handle)))
    assert answer.status == 502 and json.loads(answer.body)["error"]["code"] in ("upstream_protocol_error", "upstream_closed")


def test_first_byte_timeout(gateway, upstream):
    closed = []

    def silent(_, connection):
        closed.append(connection.is_closed())

    def short(targets):
        targets[0]["timeouts"] = {"first_byte": "200ms"}

    first, second = upstream(silent), upstream(says("second"))
    assert text_of(ask(gateway(first, second, edit=short))) == "second"
    assert closed == [True]


def test_credentials(gateway, upstream):
    """The client's credentials stop here, whatever form they have; the target gets its own and nothing else."""
    server = upstream(says("ok"))
    running = gateway(server)
    fields = [("authorization", f"Bearer {CANARY_CLIENT_KEY}"), ("api-key", CANARY_CLIENT_KEY), ("cookie", f"k={CANARY_CLIENT_KEY}"),
              ("proxy-authorization", f"Basic {CANARY_CLIENT_KEY}"), ("x-harmless", "kept")]
    with running.client() as client:
        target = f"/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21&api-key={CANARY_CLIENT_KEY}"
        assert client.ask("POST", target, answers.ask(), fields).status == 200
    (received,) = server.requests
    assert CANARY_CLIENT_KEY.encode() not in received.raw
    assert ("authorization", f"Bearer {CANARY_TARGET_KEY}") in received.headers
    assert ("x-harmless", "kept") in received.headers


def test_azure_gets_its_key_in_its_own_field(gateway, upstream):
    server = upstream(says("ok"))
    targets = [{"name": "first", "azure": {"endpoint": server.url, "api": "2024-10-21"}, "credential": {"api_key": {"env": "TARGET_KEY"}}}]
    models = [{"name": "*", "targets": [{"target": "first", "deployment": "my-deployment"}]}]
    assert ask(gateway(targets=targets, models=models)).status == 200
    (received,) = server.requests
    assert received.target == "/openai/deployments/my-deployment/chat/completions?api-version=2024-10-21"
    assert ("api-key", CANARY_TARGET_KEY) in received.headers and "authorization" not in dict(received.headers)
