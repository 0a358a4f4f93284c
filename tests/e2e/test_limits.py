# SPDX-License-Identifier: Apache-2.0
"""The filter rate_limit in the real binary: what the official SDK makes of it, and that no way to leave takes anything along."""
import concurrent.futures
import json
import random
import re
import socket

import openai
import pytest
from harness import wire

SAY = [{"role": "user", "content": "Say something about rivers, please."}]
TARGET = {"name": "mock", "mock": {}}


def limited(*limits, target=None, **settings):
    """Configuration with one mock target and these limits on its listener."""
    return {
        "listener": {"filters": ["limit"]},
        "filters": {"limit": {"type": "rate_limit", "limits": list(limits), **settings}},
        "targets": [target or TARGET],
        "models": [{"name": "*", "targets": ["mock"]}],
    }


def sdk(gateway, retries):
    return openai.OpenAI(base_url=f"{gateway.base_url}/v1", api_key="unused", max_retries=retries)


def probe(client):
    """A request that the model refuses, so that it costs nothing; reserved are 4 tokens. Its answer tells how the limits stand."""
    return client.ask("POST", "/v1/chat/completions", json.dumps({"model": "m", "messages": [], "max_tokens": 1}))


def test_sdk_raises_rate_limit_error(gateway):
    served = gateway(**limited({"name": "slow", "requests": "1/minute"}))
    with sdk(served, retries=0) as client:
        first = client.chat.completions.with_raw_response.create(model="m", messages=SAY)
        assert first.headers["x-ratelimit-limit-requests"] == "1" and first.headers["x-ratelimit-remaining-requests"] == "0"
        with pytest.raises(openai.RateLimitError) as refused:
            client.chat.completions.create(model="m", messages=SAY)
    error = refused.value
    assert (error.status_code, error.code, error.type) == (429, "rate_limit_exceeded", "rate_limit_error")
    assert 0 < int(error.response.headers["retry-after-ms"]) <= 60000
    assert 0 < int(error.response.headers["retry-after"]) <= 60


def test_sdk_succeeds_on_its_own_retry(gateway):
    """The SDK waits as long as it was told, and no longer: one retry each is enough."""
    served = gateway(**limited({"name": "slow", "requests": "4/second", "burst": 1}))
    with sdk(served, retries=2) as client:
        for _ in range(4):
            assert client.chat.completions.create(model="m", messages=SAY).choices
    refused = [line for line in served.access(7) if line["status"] == 429]
    assert len(refused) == 3
    assert all(line["fault"] == "RATE_LIMITED" and line["detail"].endswith(": limit slow") for line in refused)


def test_sdk_does_not_retry_a_quota(gateway):
    served = gateway(**limited({"name": "spend", "cost": "0.001/month"}, prices=[{"model": "*", "input": 1, "output": 5}]))
    with sdk(served, retries=2) as client, pytest.raises(openai.RateLimitError) as refused:
        for _ in range(100):
            client.chat.completions.create(model="m", messages=SAY, max_tokens=20)
    assert "Rate limit spend reached: Limit 0.001 per month, Remaining 0.000" in refused.value.message
    assert refused.value.code == "insufficient_quota" and refused.value.response.headers["x-should-retry"] == "false"
    assert len([line for line in served.access(2) if line["status"] == 429]) == 1


def test_stream_is_charged_as_reported(gateway):
    served = gateway(**limited({"name": "day", "tokens": "100000/day"}))
    used = 0
    with sdk(served, retries=0) as client:
        for _ in range(3):
            stream = client.chat.completions.create(model="m", messages=SAY, stream=True, stream_options={"include_usage": True})
            used += [chunk.usage.total_tokens for chunk in stream if chunk.usage][0]
    with served.client() as client:
        assert int(probe(client).get("x-ratelimit-remaining-tokens")) == 100000 - used - 4
    assert 'postern_limit_tokens_total{filter="limit",basis="reported"}' in served.metrics()


def test_a_stream_over_its_budget_ends_politely(gateway):
    """Without a maximum it ends when its limit is used up: the SDK sees finish_reason length and usage, and no error."""
    served = gateway(**limited({"name": "day", "tokens": "300/day", "per": ["operation"]}, over_budget="finish", assumed_output=10,
                               target={"name": "mock", "mock": {"chunks": 400}}))
    with sdk(served, retries=0) as client:
        chunks = list(client.chat.completions.create(model="m", messages=SAY, stream=True, stream_options={"include_usage": True}))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "length"
        assert chunks[-1].usage.total_tokens == chunks[-1].usage.prompt_tokens + chunks[-1].usage.completion_tokens
        assert 150 < chunks[-1].usage.completion_tokens < 400 and len({chunk.id for chunk in chunks}) == 1
        assert len(text) > 500
        with pytest.raises(openai.RateLimitError):
            client.chat.completions.create(model="m", messages=SAY)
        events = list(client.responses.create(model="m", input="Go on.", stream=True))
        assert (events[-1].type, events[-1].response.status) == ("response.incomplete", "incomplete")
        assert events[-1].response.incomplete_details.reason == "max_output_tokens"
        assert events[-1].response.id == events[0].response.id
    assert {line["outcome"] for line in served.access(3) if line["status"] == 200} == {"completed"}


def test_targets_at_their_limits_are_passed_over(gateway):
    targets = [{"name": "first", "mock": {}, "limits": {"requests": "1/minute"}}, {"name": "second", "mock": {}}]
    served = gateway(targets=targets, models=[
        {"name": "m", "targets": [{"target": "first"}, {"target": "second", "priority": 2, "limits": {"requests": "1/minute"}}]}])
    with sdk(served, retries=0) as client:
        for _ in range(2):
            assert client.chat.completions.create(model="m", messages=SAY).choices
        with pytest.raises(openai.RateLimitError) as refused:
            client.chat.completions.create(model="m", messages=SAY)
    assert 0 < int(refused.value.response.headers["retry-after-ms"]) <= 60000 and "All targets" in str(refused.value)
    lines = served.access(3)
    assert [line.get("target") for line in lines] == ["first", "second", None]
    assert [[over["target"] for over in line.get("passed_over", [])] for line in lines] == [[], ["first"], ["first", "second"]]
    metrics = served.metrics()
    assert 'postern_target_limit_total{target="first",deployment="",limit="requests",result="refused"} 2' in metrics
    assert 'postern_target_limit_total{target="second",deployment="m",limit="requests",result="refused"} 1' in metrics


QUESTION_TOKENS = 9  # as the mock counts it


def tokens_by(metrics, family):
    """A family's numbers by their labels without the first, which is whose they are."""
    found = {}
    for labels, value in re.findall(family + r"\{([^}]*)\} (\d+)", metrics):
        key = tuple(re.findall(r'="([^"]*)"', labels))[1:]
        found[key if len(key) > 1 else key[0]] = int(value)
    return found


def input_estimated(gateway):
    """What is charged for the question alone: of one who leaves before there is an answer."""
    served = gateway(**limited({"name": "day", "tokens": "100000/day"}, target={"name": "mock", "mock": {"latency": "1h"}}))
    body = json.dumps({"model": "m", "stream": True, "max_tokens": 50, "messages": SAY}).encode()
    with socket.create_connection(("127.0.0.1", served.port), timeout=wire.TIMEOUT) as connection:
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
                           b"content-length: %d\r\n\r\n" % len(body) + body)
        served.wait_until(lambda: "postern_exchanges 2" in served.metrics())
    served.wait_until(lambda: "estimated" in tokens_by(served.metrics(), "postern_limit_tokens_total"))
    return tokens_by(served.metrics(), "postern_limit_tokens_total")["estimated"]


def leave_somewhere(port, seed):
    """One request that ends at a random place: while it is sent, before the answer, within it, or after it."""
    choose = random.Random(seed)
    body = json.dumps({"model": "m", "stream": choose.random() < 0.8, "max_tokens": 50, "messages": SAY}).encode()
    head = (f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n").encode()
    whole = head + body
    with socket.create_connection(("127.0.0.1", port), timeout=wire.TIMEOUT) as connection:
        if choose.random() < 0.2:
            connection.sendall(whole[: choose.randrange(1, len(whole))])
            return
        connection.sendall(whole)
        most = choose.choice((0, 1, 100, 300, 700, 1500, 4000))
        got = 0
        while got < most:
            piece = connection.recv(most - got)
            if not piece or b"[DONE]" in piece or b"0\r\n\r\n" in piece[-5:]:
                break
            got += len(piece)
            if b"application/json" in piece:
                break


@pytest.mark.workers
def test_nothing_is_left_by_those_who_leave(gateway):
    """
    10,000 random aborts at random phases. All reservations come back; where the model reported its usage exactly that is charged, and
    where it did not, its input by the estimate for each request that reached it and its output by 2 to 5 bytes a token, which the
    mock, that counts four, has within 4/5 and 2 times.
    """
    target = {"name": "mock", "mock": {"chunk_interval": "1ms"}}
    count = 10000
    served = gateway(workers=2, **limited({"name": "parallel", "concurrency": 1000},
                                          {"name": "day", "tokens": "100000000/day"}, target=target))
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        list(pool.map(lambda seed: leave_somewhere(served.port, seed), range(count)))
    with served.client() as client:
        # In the end only this request stands in the limit.
        served.wait_until(lambda: '"parallel";r=999' in probe(client).get("ratelimit"))
        left = int(probe(client).get("x-ratelimit-remaining-tokens"))
    metrics = served.metrics()
    charged = tokens_by(metrics, "postern_limit_tokens_total")
    made = tokens_by(metrics, "postern_mock_tokens_total")
    assert 100000000 - 4 - left == sum(charged.values())
    assert charged["reported"] == made["input", "reported"] + made["output", "reported"]
    reached = made["input", "unreported"] / QUESTION_TOKENS
    assert reached > count / 10 and reached == int(reached)
    output = charged["estimated"] - reached * input_estimated(gateway)
    assert made["output", "unreported"] * 4 / 5 <= output <= made["output", "unreported"] * 2


def read_some(port, most):
    """Begins a stream and leaves after about so many bytes of it, or at its end; the characters of text that were read."""
    body = json.dumps({"model": "m", "stream": True, "max_tokens": 60, "messages": SAY}).encode()
    got = b""
    with socket.create_connection(("127.0.0.1", port), timeout=wire.TIMEOUT) as connection:
        connection.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
                           f"content-length: {len(body)}\r\n\r\n".encode() + body)
        while len(got) < most and b"[DONE]" not in got:
            piece = connection.recv(512)
            assert piece
            got += piece
    return sum(map(len, re.findall(rb'"content":"([^"]*)"', got))), b"[DONE]" in got


def test_those_who_leave_pay_for_what_was_generated(gateway):
    """
    Of a stream that its client left, at least the text that the client has read is charged and at most all that the model would have
    generated, each by the bounds of the estimate (2 to 5 bytes a token); of one that came to its end exactly what was reported.
    """
    target = {"name": "mock", "mock": {"chunk_interval": "1ms", "chunks": 60}}
    served = gateway(**limited({"name": "parallel", "concurrency": 1000}, {"name": "day", "tokens": "100000000/day"}, target=target))
    with sdk(served, retries=0) as client:
        stream = client.chat.completions.create(model="m", messages=SAY, max_tokens=60, stream=True, stream_options={"include_usage": True})
        whole = [chunk.usage for chunk in stream if chunk.usage][0]
    question = sum(len(message["content"]) for message in SAY) + 20

    with served.client() as client:
        def left():
            served.wait_until(lambda: '"parallel";r=999' in probe(client).get("ratelimit"))
            return int(probe(client).get("x-ratelimit-remaining-tokens"))

        before, ends = left(), {False: 0, True: 0}
        for most in (1, 400, 900, 1600, 2400, 4000, 6000, 9000, 100000) * 2:
            read, complete = read_some(served.port, most)
            now = left()
            charged, before = before - now, now
            ends[complete] += 1
            if complete:
                assert charged == whole.total_tokens
            else:
                assert read / 5 <= charged <= whole.completion_tokens * 4 / 2 + question / 2
        assert ends[False] >= 5 and ends[True] >= 2


def test_metrics_and_shadow(gateway):
    served = gateway(**limited({"name": "ghost", "requests": "1/day", "shadow": True}, {"name": "real", "requests": "2/day"},
                               {"name": "tokens", "tokens": "100000/day"}))
    with served.client() as client:
        statuses = [client.ask("POST", "/v1/chat/completions", json.dumps({"model": "m", "messages": SAY})).status for _ in range(3)]
    assert statuses == [200, 200, 429]
    metrics = served.metrics()
    assert 'postern_limit_total{filter="limit",limit="ghost",result="shadow"} 1' in metrics
    assert 'postern_limit_total{filter="limit",limit="real",result="refused"} 1' in metrics
    assert 'postern_estimate_ratio_count{model="*"} 2' in metrics
