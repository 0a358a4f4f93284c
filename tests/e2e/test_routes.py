# SPDX-License-Identifier: Apache-2.0
"""Where a request goes and in which form: inbound paths, dialects of targets, pass-through routes, stateful operations, edits."""
import json

import pytest
from harness import answers, wire

CHAT = "/v1/chat/completions"
DATED, CLIENTS = "2024-10-21", "2025-01-01-preview"
INBOUND = {
    "OpenAI": ("/v1/{}", False),
    "OpenAI without v1": ("/{}", False),
    "Azure dated": (f"/openai/deployments/m/{{}}?api-version={CLIENTS}", True),
    "Azure v1": ("/openai/v1/{}", False),
    "Azure v1 with a version": ("/openai/v1/{}?api-version=preview", False),
    "Node's": (f"/v1/deployments/m/{{}}?api-version={CLIENTS}", True),
}
UPSTREAM = {
    "openai": ({"openai": {"url": "URL/v1"}}, "/v1/{}", True),
    "openai below a path": ({"openai": {"url": "URL/some/where/v1"}}, "/some/where/v1/{}", True),
    "azure dated": ({"azure": {"endpoint": "URL", "api": DATED}}, f"/openai/deployments/real/{{}}?api-version={DATED}", False),
    "azure v1": ({"azure": {"endpoint": "URL", "api": "v1"}}, "/openai/v1/{}", True),
}
OPERATIONS = {"chat/completions": {"messages": []}, "completions": {"prompt": "x"}, "embeddings": {"input": "x"},
              "images/generations": {"prompt": "x"}, "audio/speech": {"input": "x", "voice": "alloy"}}


def fine(_, connection):
    connection.answer(200, answers.chat())


@pytest.fixture
def routed(gateway, upstream):
    """routed(target, handler): a gateway before one target, which knows the model m as `real`; with the target's server."""
    def start(target, handler=fine, **more):
        server = upstream(handler)
        made = json.loads(json.dumps({"name": "t", **target}).replace("URL", server.url))
        child = gateway(targets=[made], models=[{"name": "m", "targets": [{"target": "t", "deployment": "real"}]}], **more)
        child.server = server
        return child

    return start


def ask(running, method, target, body=b"", headers=()):
    with running.client() as client:
        return client.ask(method, target, body, headers)


@pytest.mark.parametrize("dialect", UPSTREAM)
def test_every_form_to_every_dialect(routed, dialect):
    target, there, in_body = UPSTREAM[dialect]
    running = routed(target)
    expected = []
    for path, scoped in INBOUND.values():
        for operation, body in OPERATIONS.items():
            asked = body if scoped else {"model": "m", **body}
            assert ask(running, "POST", path.format(operation), json.dumps(asked)).status == 200
            expected.append((operation, {"model": "real", **body}))
    assert len(running.server.requests) == len(expected) == 30
    for received, (operation, body) in zip(running.server.requests, expected):
        sent = json.loads(received.body)
        assert received.target == there.format(operation)
        if in_body:
            assert sent == body
        else:
            sent.pop("model", None)
            assert sent == {name: value for name, value in body.items() if name != "model"}


@pytest.mark.parametrize("path, there", [
    (f"/openai/deployments/m/chat/completions?api-version={CLIENTS}", f"/openai/deployments/real/chat/completions?api-version={CLIENTS}"),
    ("/openai/v1/chat/completions?api-version=preview", "/openai/v1/chat/completions?api-version=preview"),
    ("/openai/v1/chat/completions", "/openai/v1/chat/completions"), (CHAT, "/openai/v1/chat/completions")])
def test_azure_as_the_client_wants(routed, path, there):
    running = routed({"azure": {"endpoint": "URL", "api": "as-client"}})
    assert ask(running, "POST", path, answers.ask("m")).status == 200
    assert running.server.requests[0].target == there


@pytest.mark.parametrize("path", ["/openai/deployments/m/chat/completions?api-version=2024-10-21", "/v1/deployments/m/chat/completions"])
def test_the_path_names_the_model(routed, path):
    running = routed({"openai": {"url": "URL/v1"}})
    assert ask(running, "POST", path, answers.ask("another")).status == 200
    assert json.loads(running.server.requests[0].body)["model"] == "real"
    assert running.access(1)[0]["model"] == "m"


def multipart(*parts):
    body = b"".join(b"--limit\r\ncontent-disposition: form-data; " + head + b"\r\n\r\n" + data + b"\r\n" for head, data in parts)
    return body + b"--limit--\r\n", [("content-type", "multipart/form-data; boundary=limit")]


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("dialect", UPSTREAM)
def test_multipart(routed, dialect, first):
    """The name in its part is the target's; the file, whatever it holds, arrives byte for byte."""
    file = (b'name="file"; filename="a.wav"\r\ncontent-type: audio/wav', bytes(range(256)) * 400 + b"\r\n--limi\r\n-- limit\r\n-\x00")
    name = (b'name="model"', b"m")
    running = routed(UPSTREAM[dialect][0])
    for operation in ("transcriptions", "translations"):
        body, fields = multipart(*([name, file] if first else [file, name]))
        path = f"/v1/audio/{operation}"
        assert ask(running, "POST", path, body, fields).status == 200
        received = running.server.requests[-1]
        if UPSTREAM[dialect][2]:
            assert received.body == body.replace(b"\r\n\r\nm\r\n", b"\r\n\r\nreal\r\n")
        assert file[1] in received.body and received.target == UPSTREAM[dialect][1].format(f"audio/{operation}")
        assert dict(received.headers)["content-type"] == "multipart/form-data; boundary=limit"


def test_multipart_in_doubt_is_refused(routed):
    """A file that holds the boundary: two readers could see different parts."""
    running = routed({"openai": {"url": "URL/v1"}})
    body, fields = multipart((b'name="model"', b"m"), (b'name="file"; filename="a"', b"x\r\n--limit y"))
    answer = ask(running, "POST", "/v1/audio/transcriptions", body, fields)
    assert answer.status == 400 and not running.server.requests


def test_parameters(routed):
    """Renamed, set and left out for this target; everything else is as it was, byte for byte."""
    running = routed({"openai": {"url": "URL/v1"}, "parameters": {
        "rename": {"max_tokens": "max_completion_tokens"}, "set": {"temperature": 1, "metadata": {"by": "postern"}, "absent": None},
        "drop": ["logit_bias", "user"]}})
    body = '{"user":"u", "model": "m","max_tokens" : 1e2, "temperature":0.10 ,"messages":[ {"max_tokens":1,"user":2} ],"logit_bias":{}}'
    assert ask(running, "POST", CHAT, body).status == 200
    sent = running.server.requests[0].body
    assert json.loads(sent) == {"model": "real", "max_completion_tokens": 100, "temperature": 1, "messages": [{"max_tokens": 1, "user": 2}],
                                "metadata": {"by": "postern"}, "absent": None}
    assert b'"max_completion_tokens" : 1e2' in sent and b'"messages":[ {"max_tokens":1,"user":2} ]' in sent
    assert dict(running.server.requests[0].headers)["content-length"] == str(len(sent))


def test_parameters_are_each_targets_own(gateway, upstream):
    """What one attempt was sent leaves no trace in the next."""
    first = upstream(lambda received, connection: connection.answer(503, answers.error()))
    second = upstream(fine)

    def edit(targets):
        targets[0]["parameters"] = {"rename": {"max_tokens": "max_completion_tokens"}, "drop": ["user"]}

    body = answers.ask("m", max_tokens=5, user="u")
    assert ask(gateway(first, second, edit=edit), "POST", CHAT, body).status == 200
    assert json.loads(first.requests[0].body) == {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_completion_tokens": 5}
    assert second.requests[0].body == body.encode()


# ---- pass-through ----


ROUTES = [{"path": "/tokenize", "target": "a"}, {"path": "/health", "target": "a"}, {"path": "/deep/er", "target": "b"}, {"path": "/deep", "target": "a"}]


@pytest.fixture
def passing(gateway, upstream):
    """passing(routes): a gateway whose targets a and b answer with their names."""
    def start(routes):
        servers = {name: upstream(lambda received, connection, name=name: connection.answer(200, name, [("x-kept", "1")], "text/plain"))
                   for name in ("a", "b")}
        targets = [{"name": name, "openai": {"url": f"{server.url}/v1"}} for name, server in servers.items()]
        child = gateway(targets=targets, passthrough=routes, models=[{"name": "*", "targets": ["a", "b"]}])
        child.servers = servers
        return child

    return start


@pytest.mark.parametrize("target, where", [
    ("/tokenize", "a"), ("/tokenize/", "a"), ("/tokenize/x?y=1", "a"), ("/tokenizer", None), ("/tokeniz", None), ("/health", "a"),
    ("/deep/er/x", "b"), ("/deep/er", "b"), ("/deep/erx", "a"), ("/deep", "a"), ("/", None), ("/deep/../etc", None), ("/deep/%2e%2e/x", None)])
def test_prefixes(passing, target, where):
    running = passing(ROUTES)
    answer = ask(running, "GET", target)
    if where is None:
        # Whatever is not plainly below a route is refused, or goes there without a way out of it.
        assert answer.status in (400, 404) and not running.servers["a"].requests
        return
    assert (answer.status, answer.body.decode()) == (200, where) and answer.get("x-kept") == "1"
    assert running.servers[where].requests[0].target == target


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
def test_every_method_and_body(passing, method):
    running = passing([{"path": "/", "target": "b"}])
    body = b"" if method in ("GET", "HEAD", "OPTIONS") else bytes(range(256)) * 40
    answer = ask(running, method, "/any/thing?x=%00y", body, [("content-type", "application/x-strange"), ("content-encoding", "br")])
    assert answer.status == 200
    (received,) = running.servers["b"].requests
    assert (received.method, received.target, received.body) == (method, "/any/thing?x=%00y", body)
    assert dict(received.headers)["content-encoding"] == "br"


def test_chunked_body_passes(passing):
    running = passing([{"path": "/", "target": "b"}])
    with running.client() as client:
        client.send(wire.request("POST", "/tokenize", headers=[("transfer-encoding", "chunked")]) + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        assert client.answer("POST").status == 200
    assert running.servers["b"].requests[0].body == b"abcde"


def test_operations_come_first(passing):
    """A route for everything else does not take what the API knows."""
    running = passing([{"path": "/", "target": "b"}])
    assert ask(running, "POST", CHAT, answers.ask("m")).status == 200
    assert ask(running, "GET", "/v1/models").status == 200
    assert len(running.servers["a"].requests) + len(running.servers["b"].requests) == 1
    line = running.access(2)[0]
    assert line["operation"] == "chat" and line["model"] == "m"


def test_passthrough_is_logged_without_its_query(passing):
    running = passing(ROUTES)
    ask(running, "GET", "/health?secret=1")
    (line,) = running.access(1)
    assert line["operation"] == "passthrough" and line["path"] == "/health" and "secret" not in json.dumps(line)


# ---- operations that keep state ----


STATEFUL = [
    ("GET", "/v1/files", None), ("GET", "/v1/files/f-1/content", None), ("DELETE", "/v1/files/f-1", None), ("POST", "/v1/batches", "{}"),
    ("GET", "/v1/responses/resp_1", None), ("POST", "/v1/responses/resp_1/cancel", ""), ("GET", "/openai/v1/files", None),
    ("GET", f"/openai/files?api-version={DATED}", None), ("POST", "/v1/threads", "{}"), ("GET", "/v1/vector_stores/v/files", None)]
CONTINUED = [{"previous_response_id": "resp_1"}, {"conversation": "conv_1"}, {"store": True}, {"background": True}]


def stateful_of(method, target, body):
    return method, target, body or b""


@pytest.mark.parametrize("method, target, body", STATEFUL)
def test_stateful_with_one_target(routed, method, target, body):
    running = routed({"openai": {"url": "URL/v1"}})
    assert ask(running, *stateful_of(method, target, body)).status == 200
    assert running.server.requests[0].target == "/v1/" + target.split("?")[0].removeprefix("/openai").removeprefix("/v1").lstrip("/")


@pytest.mark.parametrize("method, target, body", STATEFUL)
@pytest.mark.parametrize("named", [False, True])
def test_stateful_with_several_targets(gateway, upstream, method, target, body, named):
    first, second = upstream(fine), upstream(fine)
    running = gateway(first, second, listener={"stateful_target": "second"} if named else {})
    answer = ask(running, *stateful_of(method, target, body))
    if named:
        assert answer.status == 200 and len(second.requests) == 1 and not first.requests
    else:
        assert answer.status == 400 and json.loads(answer.body)["error"]["code"] == "stateful_target_required"
        assert "stateful_target" in json.loads(answer.body)["error"]["message"] and not first.requests + second.requests


@pytest.mark.parametrize("field", CONTINUED, ids=lambda field: next(iter(field)))
@pytest.mark.parametrize("named", [False, True])
def test_responses_that_are_stored_or_continued(gateway, upstream, field, named):
    first, second = upstream(fine), upstream(fine)
    model = {"name": "*", "targets": ["first", "second"], **({"stateful_target": "second"} if named else {})}
    running = gateway(first, second, models=[model])
    answer = ask(running, "POST", "/v1/responses", json.dumps({"model": "m", "input": "x", **field}))
    if named:
        assert answer.status == 200 and len(second.requests) == 1 and not first.requests
    else:
        assert answer.status == 400 and json.loads(answer.body)["error"]["code"] == "stateful_target_required"


def test_a_response_that_is_not_stored_goes_anywhere(gateway, upstream):
    first, second = upstream(lambda received, connection: connection.answer(500, answers.error())), upstream(fine)
    running = gateway(first, second)
    assert ask(running, "POST", "/v1/responses", json.dumps({"model": "m", "input": "x", "store": False})).status == 200
    assert len(first.requests) == len(second.requests) == 1
