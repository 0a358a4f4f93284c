# SPDX-License-Identifier: Apache-2.0
"""What targets answer in all their shapes, and what becomes of it on the way: mostly nothing."""
import gzip
import json
import socket

import pytest
from harness import answers, wire

CHAT = "/v1/chat/completions"
GUID = "c44b65e2-6f05-4899-abbe-9cfe79d74b26"
# Status and body as Azure OpenAI, its API Management and vLLM send them.
ERRORS = {
    "Azure, filtered": (400, '{"error":{"message":"The response was filtered","type":null,"param":"prompt","code":"content_filter","status":400,'
                             '"innererror":{"code":"ResponsibleAIPolicyViolation","content_filter_result":{"hate":{"filtered":false}}}}}'),
    "Azure, operation": (400, '{"error":{"code":"OperationNotSupported","message":"The embeddings operation does not work"}}'),
    "Azure, deployment": (404, '{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist."}}'),
    "Azure, path": (404, '{"error":{"code":"404","message": "Resource not found"}}'),
    "Azure, words for null": (413, '{"error":{"message":"Maximum content size limit","type":"server_error","param":"null","code":"null"}}'),
    "Azure, 429": (429, '{"error":{"code":"429","message": "Requests have exceeded call rate limit. Please retry after 7 seconds."}}'),
    "API Management": (500, f'{{"statusCode":500,"message":"Internal server error","activityId":"{GUID}"}}'),
    "HTML": (503, "<html><body>Service Unavailable</body></html>"),
    "nothing": (502, ""),
    "vLLM": (400, '{"error":{"message":"bad","type":"BadRequestError","param":null,"code":400}}'),
    "vLLM, flat": (404, '{"object":"error","message":"The model `X` does not exist.","type":"NotFoundError","param":null,"code":404}'),
    "FastAPI": (422, '{"detail":[{"loc":["body"],"msg":"field required"}]}'),
    "half of one": (500, '{"error":{"mess'),
}


def ask(running, body=None, headers=(), path=CHAT):
    with running.client() as client:
        return client.ask("POST", path, body or answers.ask(), headers)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("shape", ERRORS)
def test_errors_pass_unchanged(gateway, upstream, shape, stream):
    status, body = ERRORS[shape]
    kind = "text/html" if shape == "HTML" else "application/json; charset=utf-8"
    running = gateway(upstream(lambda received, connection: connection.answer(status, body, content_type=kind)))
    answer = ask(running, answers.ask(stream=stream))
    assert (answer.status, answer.body.decode()) == (status, body) and answer.get("content-type") == kind
    line = running.access(1)[0]
    assert line["status"] == status and "tokens" not in line


def test_identity_is_asked_for(gateway, upstream):
    server = upstream(lambda received, connection: connection.answer(200, answers.chat()))
    ask(gateway(server), headers=[("accept-encoding", "gzip, deflate, br, zstd")])
    assert dict(server.requests[0].headers)["accept-encoding"] == "identity"


@pytest.mark.parametrize("stream", [False, True])
def test_compressed_all_the_same(gateway, upstream, stream):
    """It passes as it is; what it cost is estimated, and marked so."""
    packed = gzip.compress("".join(answers.chat_stream()).encode() if stream else answers.chat("word " * 500).encode())
    kind = "text/event-stream" if stream else "application/json"
    running = gateway(upstream(lambda received, connection: connection.answer(200, packed, [("content-encoding", "gzip")], kind)))
    answer = ask(running, answers.ask(stream=stream))
    assert answer.body == packed and answer.get("content-encoding") == "gzip"
    line = running.access(1)[0]
    assert line["tokens"]["estimated"] is True and line["outcome"] == "completed"


def test_bodies_without_a_length(gateway, upstream):
    """Until the connection ends: complete for JSON; and for a stream only with its last event."""
    def handle(received, connection):
        stream = json.loads(received.body).get("stream")
        connection.start(200, [("content-type", "text/event-stream" if stream else "application/json"), ("connection", "close")])
        connection.send("".join(answers.chat_stream(with_usage=False)) if stream else answers.chat("until the end"))
        connection.close()

    running = gateway(upstream(handle))
    assert b"until the end" in ask(running).body
    assert ask(running, answers.ask(stream=True)).body.endswith(b"data: [DONE]\n\n")
    assert [line["outcome"] for line in running.access(2)] == ["completed"] * 2


def test_broken_off_answer(gateway, upstream):
    """Shorter than promised: the client must see that it is not whole."""
    def handle(_, connection):
        connection.start(200, [("content-type", "application/json"), ("content-length", "1000")])
        connection.send(answers.chat())
        connection.close()

    running = gateway(upstream(handle))
    with running.client() as client:
        client.send(wire.request("POST", CHAT, answers.ask()))
        assert client.head().get("content-length") == "1000"
        assert len(client.to_end()) < 1000
    line = running.access(1)[0]
    assert line["outcome"] == "failed" and line["fault"] == "UPSTREAM_CLOSED"


def test_binary_answers(gateway, upstream):
    sound = bytes(range(256)) * 4000

    def handle(_, connection):
        connection.start(200, [("content-type", "audio/mpeg"), ("transfer-encoding", "chunked")])
        for place in range(0, len(sound), 10000):
            connection.piece(sound[place:place + 10000])
        connection.end()

    answer = ask(gateway(upstream(handle)), json.dumps({"model": "m", "input": "x", "voice": "alloy"}), path="/v1/audio/speech")
    assert answer.status == 200 and answer.body == sound and answer.get("content-type") == "audio/mpeg"


@pytest.mark.parametrize("path, shown", [("/v1/models", {"gpt-4o", "phi"}), ("/models", {"gpt-4o", "phi"}),
                                         ("/openai/v1/models", {"gpt-4o", "phi"}), ("/openai/models?api-version=2024-10-21", {"gpt-4o", "phi"})])
def test_models_are_those_of_the_configuration(gateway, upstream, path, shown):
    server = upstream(lambda received, connection: connection.answer(200, "{}"))
    running = gateway(server, models=[{"name": name, "targets": ["first"]} for name in ("gpt-4o", "phi", "*")])
    with running.client() as client:
        listed = json.loads(client.ask("GET", path).body)
        one = json.loads(client.ask("GET", path.replace("models", "models/phi")).body)
    assert listed["object"] == "list" and {entry["id"] for entry in listed["data"]} == shown
    assert one["id"] == "phi" and one["object"] == "model" and not server.requests


def test_model_that_is_not_there(gateway, upstream):
    running = gateway(upstream(lambda received, connection: None), models=[{"name": "phi", "targets": ["first"]}])
    with running.client() as client:
        answer = client.ask("GET", "/v1/models/other")
    assert answer.status == 404 and json.loads(answer.body)["error"]["code"] == "model_not_found"


def test_control_is_on_its_socket_alone(gateway, upstream, tmp_path_factory):
    """The admin address shows; what changes something, or shows more, is behind a file's permissions."""
    path = tmp_path_factory.mktemp("c") / "control.sock"
    running = gateway(upstream(lambda received, connection: None), admin={"control": f"unix:{path}"},
                      drain={"delay": "2s", "grace": "5s"})
    assert path.stat().st_mode & 0o077 == 0
    for method, page in (("POST", "/drain"), ("GET", "/status"), ("GET", "/drain")):
        with wire.Client(running.admin) as client:
            assert client.ask(method, page).status in (404, 405)
    assert running.probe("/readyz") == 200

    def control(method, page):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(path))
        with wire.Stream(sock) as client:
            client.send(wire.request(method, page))
            return client.head().status

    assert control("GET", "/healthz") == control("GET", "/status") == 200
    assert control("GET", "/drain") == 405 and running.probe("/readyz") == 200
    assert control("POST", "/drain") == 202 and running.probe("/readyz") == 503
    running.told_to_end = True
    running.stop()
