# SPDX-License-Identifier: Apache-2.0
"""`postern simulate`: tells what would happen to a captured request, shows no secret and no prompt, asks nobody."""
import json
import subprocess

import pytest
from harness import process
from harness.process import postern

PROMPT = process.CANARY_PROMPT
KEY = process.CANARY_CLIENT_KEY

CONFIG = {
    "apiVersion": "postern/v1",
    "listeners": [{"address": "127.0.0.1:4610", "filters": ["team"]},
                  {"name": "second", "address": "127.0.0.1:4612", "stateful_target": "phi"}],
    "filters": {"team": {"type": "headers", "request": {"set": {"x-team": "search"}}}},
    "targets": [
        {"name": "east", "azure": {"endpoint": "https://contoso-east.openai.azure.com", "api": "v1"},
         "credential": {"api_key": {"file": "/nowhere/key"}},
         "parameters": {"rename": {"max_tokens": "max_completion_tokens"}, "drop": ["seed"], "set": {"service_tier": "flex"}}},
        {"name": "old", "azure": {"endpoint": "https://old.openai.azure.com", "api": "2024-10-21"},
         "credential": {"api_key": {"env": "NOWHERE_KEY"}}},
        {"name": "phi", "openai": {"url": "http://phi.default.svc/v1"}, "headers": {"set": {"x-from": "postern"}}},
    ],
    "models": [{"name": "gpt-4o", "targets": [
        {"target": "phi", "priority": 2},
        {"target": "east", "deployment": "ptu", "weight": 3},
        {"target": "old", "deployment": "gpt4o", "weight": 1}]}],
    "passthrough": [{"path": "/tokenize", "target": "phi"}],
}


def body_of(**more):
    return json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": PROMPT}], **more}).encode()


def request(path="/v1/chat/completions", body=None, method="POST", end="\r\n", fields=()):
    lines = [f"{method} {path} HTTP/1.1", "Host: here", f"Authorization: Bearer {KEY}", "Connection: keep-alive", *fields]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return end.join([*lines, "", ""]).encode() + (body or b"")


@pytest.fixture
def simulate(tmp_path):
    config = tmp_path / "postern.yaml"
    config.write_text(json.dumps(CONFIG))
    captured = tmp_path / "request.http"

    def run(raw, *options):
        captured.write_bytes(raw)
        done = postern("simulate", *options, config, captured)
        for secret in (PROMPT, KEY):
            assert secret not in done.stdout + done.stderr
        return done

    run.config = config
    return run


def test_chat_in_every_dialect(simulate):
    done = simulate(request(body=body_of(stream=True, max_tokens=5, seed=7)))
    assert done.returncode == 0, done.stderr
    for line in ("listener   127.0.0.1:4610", "operation  chat, asked in the openai dialect",
                 'model      "gpt-4o", served by the entry "gpt-4o"', "1. team (headers, of the listener): ",
                 "1. east, deployment ptu (priority 1, comes first among these in 75%)",
                 "2. old, deployment gpt4o (priority 1, comes first among these in 25%)",
                 "3. phi (priority 2; only if those before it fail)",
                 "POST https://contoso-east.openai.azure.com/openai/v1/chat/completions",
                 "POST https://old.openai.azure.com/openai/deployments/gpt4o/chat/completions?api-version=2024-10-21",
                 "POST http://phi.default.svc/v1/chat/completions", "Host: phi.default.svc",
                 "+ api-key: (from file /nowhere/key)", "+ api-key: (from environment variable NOWHERE_KEY)",
                 '+ x-from: "postern"', "- authorization", "- connection", '"model": "gpt-4o" -> "ptu"',
                 '"max_tokens" is renamed to "max_completion_tokens"', '"seed" is dropped', '"service_tier" is added: "flex"',
                 '"stream_options" is added: {"include_usage":true}'):
        assert line in done.stdout, line
    assert done.stdout.index("1. east") < done.stdout.index("2. old") < done.stdout.index("3. phi")


def test_lengths_are_those_that_would_be_sent(simulate):
    body = body_of()
    done = simulate(request(body=body))
    edited = json.dumps({**json.loads(body), "model": "ptu"})
    assert f"body: {len(body)} bytes become {len(edited) + len(',') + len(json.dumps({'service_tier': 'flex'}, separators=(',', ':'))) - 2}" \
        in done.stdout
    assert f"body: {len(body)} bytes, unchanged" in done.stdout


def test_standard_input(simulate):
    done = subprocess.run([process.binary(), "simulate", simulate.config, "-"], input=request(body=body_of()),
                          capture_output=True, check=False, timeout=30)
    assert done.returncode == 0 and b"1. east" in done.stdout


def test_head_with_bare_line_feeds_is_repaired(simulate):
    """As an editor saves it, with a line end behind the body, too."""
    done = simulate(request(body=body_of(), end="\n") + b"\n")
    assert done.returncode == 0
    assert "LF alone" in done.stdout and "1 byte after the end" in done.stdout and "1. east" in done.stdout


@pytest.mark.parametrize(("raw", "status", "code"), [
    (request(body=b'{"model":"nope"}'), 404, "model_not_found"),
    (request(body=b'{"messages":[]}'), 400, "model_required"),
    (request(body=b'{"model":'), 400, "malformed_body"),
    (request(body=b"x", fields=["Content-Encoding: gzip"]), 415, "unsupported_content_encoding"),
    (request("/v1/nothing", method="GET"), 404, "unknown_url"),
    (request("/v1/chat/completions", method="PUT"), 405, "method_not_allowed"),
    (request("/v1/files", method="GET"), 400, "stateful_target_required"),
    (b"GET /v1/models HTTP/1.1\r\n\r\n", 400, "malformed_request"),
])
def test_refused(simulate, raw, status, code):
    done = simulate(raw)
    assert done.returncode == 1
    assert f"Postern itself answers {status} " in done.stdout and f'"code":"{code}"' in done.stdout


@pytest.mark.parametrize(("raw", "word"), [
    (b"", "empty"),
    (request(body=body_of())[:-2], "Content-Length says"),
    (b"GET /v1/models HTTP/1.1\r\nHost: x\r\n", "no end"),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2"),
])
def test_not_a_request(simulate, raw, word):
    done = simulate(raw)
    assert done.returncode == 1 and word in done.stderr and not done.stdout


def test_listener_is_chosen(simulate):
    raw = request("/v1/files", method="GET")
    done = simulate(raw, "--listener", "second")
    assert done.returncode == 0 and "stateful" in done.stdout and "1. phi (stateful_target of the listener)" in done.stdout
    done = simulate(raw, "--listener", "third")
    assert done.returncode == 1 and "second" in done.stderr


def test_passthrough(simulate):
    done = simulate(request("/tokenize/x?y=1", body=b"anything"))
    assert done.returncode == 0
    assert "passthrough /tokenize" in done.stdout and "POST http://phi.default.svc/tokenize/x?y=1" in done.stdout


def test_cache_says_what_it_does_for_a_known_caller(simulate, tmp_path):
    """Nobody is authenticated in a simulation: that must not read as if nothing were ever kept."""
    (tmp_path / "keys.yaml").write_text(postern("key", "new", "alice").stdout.split("\n", 1)[1])
    simulate.config.write_text(json.dumps({
        **CONFIG,
        "listeners": [{"address": "127.0.0.1:4610", "filters": ["authenticate", "cache"]}],
        "stores": [{"name": "shared", "redis": "redis://cache"}],
        "filters": {"authenticate": {"methods": [{"api_keys": {"file": str(tmp_path / "keys.yaml")}}]},
                    "cache": {"store": "shared", "seal": "off", "rules": [{"operations": ["chat"]}]}}}))
    done = simulate(request(body=body_of(temperature=0)))
    said = done.stdout
    assert "looks for an answer that is at most 3600 s old, of this caller" in said, done.stderr
    said = simulate(request(body=body_of(temperature=1))).stdout
    assert "its temperature is above" in said and "looks for" not in said


def test_models_are_answered_here(simulate):
    done = simulate(request("/v1/models", method="GET"))
    assert done.returncode == 0 and "answered by Postern itself" in done.stdout


def test_usage():
    assert postern("simulate").returncode == 2
    assert postern("simulate", "one").returncode == 2
    assert "--listener" in postern("help", "simulate").stdout


@pytest.mark.parametrize("filters, said", [
    (["who", "answers"], "looks for an answer that is at most 3600 s old, of this caller"),
    (["answers"], "nobody knows whose it is"),
])
def test_cache_of_callers(tmp_path, filters, said):
    """Nobody is authenticated in a simulation; what will be authenticated is not taken for nobody's."""
    config = {"apiVersion": "postern/v1",
              "listeners": [{"name": "teams", "address": "unix:/run/nowhere.sock", "filters": filters}],
              "stores": [{"name": "shared", "redis": {"url": "redis://nowhere:6379"}}],
              "filters": {"answers": {"type": "cache", "store": "shared", "seal": "off", "rules": [{"operations": ["chat"]}]}},
              "targets": [{"name": "phi", "openai": {"url": "http://phi.default.svc/v1"}}],
              "models": [{"name": "*", "targets": ["phi"]}]}
    if "who" in filters:
        config["filters"]["who"] = {"type": "authenticate", "methods": [{"api_keys": "/nowhere/keys"}]}
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    (tmp_path / "request").write_bytes(request(body=body_of(temperature=0)))
    done = postern("simulate", str(tmp_path / "config.yaml"), str(tmp_path / "request"))
    assert done.returncode == 0, done.stderr
    assert said in done.stdout, done.stdout
