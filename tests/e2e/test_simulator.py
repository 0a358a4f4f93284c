# SPDX-License-Identifier: Apache-2.0
"""llm-d-inference-sim, which speaks vLLM's API and was written by others, as an in-cluster target."""
import json
import urllib.error
import urllib.request

import openai
import pytest
from harness.process import Process, free_port


@pytest.fixture
def simulator(go_program, owned):
    program = go_program("llm-d-inference-sim")
    port = free_port()
    child = Process([program, "--port", port, "--model", "sim", "--served-model-name", "sim", "--force-dummy-tokenizer", "--mode", "random",
                     "--seed", "1", "--time-to-first-token", "10ms", "--inter-token-latency", "2ms", "--max-model-len", "32768"])

    def end():
        child.child.terminate()
        child.finish()

    owned.callback(end)
    child.url = f"http://127.0.0.1:{port}"

    def healthy():
        try:
            with urllib.request.urlopen(f"{child.url}/health", timeout=5) as answer:
                return answer.status == 200
        except (OSError, urllib.error.URLError):
            return False

    child.wait_until(healthy)
    return child


@pytest.fixture
def client(gateway, simulator):
    running = gateway(targets=[{"name": "phi", "openai": {"url": f"{simulator.url}/v1"}}],
                      models=[{"name": "phi-4-mini-instruct", "targets": [{"target": "phi", "deployment": "sim"}]}],
                      passthrough=[{"path": "/tokenize", "target": "phi"}])
    with openai.OpenAI(base_url=f"{running.base_url}/v1", api_key="none", max_retries=0) as made:
        made.running = running
        yield made


SAY = [{"role": "user", "content": "Tell me something."}]


def test_chat(client):
    answer = client.chat.completions.create(model="phi-4-mini-instruct", messages=SAY, max_tokens=20)
    assert answer.choices[0].message.content and answer.usage.completion_tokens > 0


def test_stream(client):
    chunks = list(client.chat.completions.create(model="phi-4-mini-instruct", messages=SAY, max_tokens=20, stream=True))
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert all(chunk.choices for chunk in chunks)
    (line,) = client.running.access(1)
    assert "estimated" not in json.dumps(line) or line.get("estimated") in (False, None)


def test_completions(client):
    answer = client.completions.create(model="phi-4-mini-instruct", prompt="Once", max_tokens=10)
    assert answer.choices[0].text


def test_injected_failure(client):
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model="phi-4-mini-instruct", messages=SAY, extra_headers={"X-Return-Error": "429"})


def test_passthrough(client):
    body = json.dumps({"model": "sim", "prompt": "count me"}).encode()
    request = urllib.request.Request(f"{client.running.base_url}/tokenize", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert json.load(answer)["count"] > 0
