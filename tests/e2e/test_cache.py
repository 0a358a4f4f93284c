# SPDX-License-Identifier: Apache-2.0
"""The filter cache in the real binary: one call for many clients, tenants apart, pods together, and a store that may go at any time."""
import concurrent.futures
import json
import os
import random
import selectors
import signal
import socket
import subprocess
import base64
import threading

import openai
import pytest
from harness import answers, process, redis_server, wire
from harness.process import CANARY_ANSWER, CANARY_PROMPT

CHAT = "/v1/chat/completions"
RULES = [{"operations": ["chat", "completions", "responses", "embeddings"]}]


def cached(*rules, **settings):
    """Configuration with the cache on its listener."""
    return {"listener": {"filters": ["answers"]},
            "filters": {"answers": {"type": "cache", "rules": list(rules) or RULES, **settings}}}


def body(text="hi", stream=False, **more):
    return answers.ask(text=text, stream=stream, temperature=0, **more)


def ask(gateway, text="hi", headers=(), **more):
    with gateway.client() as client:
        return client.ask("POST", CHAT, body(text, **more), list(headers))


def result(answer):
    """Cache-Status without its key."""
    return (answer.get("cache-status") or "").partition("; key=")[0]


def echo(received, connection):
    """Answers with what was asked, in the form that was asked for."""
    asked = json.loads(received.body)
    text = asked["messages"][0]["content"]
    if not asked.get("stream"):
        connection.answer(200, answers.chat(f"re: {text}"))
        return
    connection.start_stream()
    for event in answers.chat_stream(words=("re: ", text)):
        connection.piece(event)
    connection.end()


# ---- one process ----


def test_both_forms_share_an_entry(gateway, upstream):
    server = upstream(echo)
    served = gateway(server, **cached())
    assert result(ask(served)) == "postern; fwd=uri-miss"
    again = ask(served)
    assert result(again).startswith("postern; hit; ttl=3") and int(again.get("age")) >= 0
    stream = ask(served, stream=True)
    assert result(stream).startswith("postern; hit") and b"data: [DONE]" in stream.body and b"re: hi" in stream.body
    assert len(server.requests) == 1
    lines = served.access(3)
    assert [line.get("cache") for line in lines] == ["miss", "hit", "hit"]
    assert lines[0]["target"] == "first" and "target" not in lines[1]
    assert lines[1]["tokens"] == lines[0]["tokens"]
    metrics = served.metrics()
    assert 'postern_cache_requests_total{filter="answers",result="hit"} 2' in metrics
    assert 'postern_cache_saved_tokens_total{filter="answers",model="*",type="input"} 22' in metrics
    assert 'postern_attempts_total{target="first",deployment="",result="ok"} 1' in metrics


def test_an_error_has_no_first_content(gateway):
    served = gateway(targets=[{"name": "first", "openai": {"url": "http://127.0.0.1:1"}}],
                     models=[{"name": "*", "targets": ["first"]}], **cached())
    assert ask(served).status == 502
    assert "time_to_first_content_ms" not in served.access(1)[0]


@pytest.mark.parametrize("first", ["json", "stream"])
def test_sdk_reads_the_same_from_both_forms(gateway, mock, first):
    """What the SDK makes of a hit is what it made of the answer itself, whichever form was asked for first."""
    served = gateway(mock(), **cached())
    ask_for = {"model": "m", "temperature": 0, "messages": [{"role": "user", "content": "Say something about rivers."}]}

    def whole(client):
        return client.chat.completions.create(**ask_for)

    def streamed(client):
        with client.chat.completions.stream(**ask_for, stream_options={"include_usage": True}) as stream:
            return stream.get_final_completion()

    def essence(completion):
        choice = completion.choices[0]
        return completion.id, completion.model, completion.created, choice.message.content, choice.finish_reason, completion.usage.total_tokens

    with openai.OpenAI(base_url=f"{served.base_url}/v1", api_key="unused", max_retries=0) as client:
        order = (whole, streamed, whole, streamed) if first == "json" else (streamed, whole, streamed, whole)
        seen = {essence(one(client)) for one in order}
    assert len(seen) == 1, seen
    assert [line["cache"] for line in served.access(4)] == ["miss", "hit", "hit", "hit"]


@pytest.mark.parametrize("first", ["json", "stream"])
def test_sdk_reads_the_same_of_responses(gateway, mock, first):
    """Kept only when the request says `store: false`: absent means that the target stores it."""
    served = gateway(mock(), **cached())
    ask_for = {"model": "m", "temperature": 0, "input": "Say something about rivers."}

    def whole(client, **more):
        return client.responses.create(**ask_for, store=False, **more)

    def streamed(client):
        with client.responses.stream(**ask_for, store=False) as stream:
            return stream.get_final_response()

    def essence(response):
        return response.id, response.model, response.output_text, response.status, response.usage.total_tokens

    with openai.OpenAI(base_url=f"{served.base_url}/v1", api_key="unused", max_retries=0) as client:
        order = (whole, streamed, whole, streamed) if first == "json" else (streamed, whole, streamed, whole)
        seen = {essence(one(client)) for one in order}
        assert len(seen) == 1, seen
        client.responses.create(**ask_for)
        client.responses.create(**ask_for, store=True)
        client.responses.create(**ask_for, store=False, tools=[{"type": "web_search"}])
    assert [line["cache"] for line in served.access(7)] == ["miss", "hit", "hit", "hit", "bypass", "bypass", "bypass"]


def test_completions_share_an_entry(gateway, mock):
    served = gateway(mock(), **cached())
    ask_for = {"model": "m", "temperature": 0, "prompt": "Rivers"}
    with openai.OpenAI(base_url=f"{served.base_url}/v1", api_key="unused", max_retries=0) as client:
        text = client.completions.create(**ask_for).choices[0].text
        for _ in range(2):
            assert "".join(chunk.choices[0].text for chunk in client.completions.create(**ask_for, stream=True) if chunk.choices) == text
    assert [line["cache"] for line in served.access(3)] == ["miss", "hit", "hit"]


def test_memory_is_bounded(gateway, mock):
    """More than there is room for: what is kept stays below its bound, whatever was asked for."""
    served = gateway(mock(), **cached(memory="1MiB"))
    with served.client() as client:
        for number in range(1500):
            assert client.ask("POST", CHAT, body(f"{number} " + "word " * 400)).status == 200
    served.wait_until(lambda: "postern_cache_memory_evicted_total" in served.metrics())
    values = dict(line.rsplit(" ", 1) for line in served.metrics().splitlines() if line.startswith("postern_cache_memory"))
    assert 0 < int(values['postern_cache_memory_bytes{filter="answers"}']) <= 1 << 20
    assert int(values['postern_cache_memory_evicted_total{filter="answers"}']) > 0


def test_embeddings_are_kept_one_by_one(gateway, mock):
    served = gateway(mock(), **cached())
    with openai.OpenAI(base_url=f"{served.base_url}/v1", api_key="unused", max_retries=0) as client:
        both = client.embeddings.create(model="m", input=["sea", "sky"])
        more = client.embeddings.create(model="m", input=["sky", "moon", "sea"])
        one = client.embeddings.create(model="m", input="moon")
    assert [item.index for item in more.data] == [0, 1, 2]
    assert more.data[0].embedding == both.data[1].embedding and more.data[2].embedding == both.data[0].embedding
    assert one.data[0].embedding == more.data[1].embedding
    assert [line["cache"] for line in served.access(3)] == ["miss", "partial", "hit"]


def test_hits_and_limits(gateway, mock):
    """Limits before the cache charge a hit as configured; those behind it see only calls."""
    limit = {"type": "rate_limit", "limits": [{"name": "day", "tokens": "100000/day"}]}
    for order, hits, rises in ((["limit", "answers"], "free", False), (["limit", "answers"], "counted", True),
                               (["answers", "limit"], "free", False)):
        served = gateway(mock(), listener={"filters": order},
                         filters={"limit": limit, "answers": {"type": "cache", "rules": RULES, "hits": hits}})

        def charged(gateway=served):
            lines = [line for line in gateway.metrics().splitlines()
                     if line.startswith('postern_limit_tokens_total{filter="limit",basis="reported"}')]
            return int(lines[0].split()[-1]) if lines else 0

        assert ask(served).status == 200
        once = charged()
        assert once > 0
        assert ask(served).status == 200
        assert charged() == (2 * once if rises else once), (order, hits)
        served.stop()


def test_savings_are_told_in_money(gateway, mock):
    """By the prices that a limit on cost has anyhow."""
    limit = {"type": "rate_limit", "limits": [{"name": "spend", "cost": "100/day"}], "prices": [{"model": "gpt*", "input": 2, "output": 8}]}
    served = gateway(mock(), listener={"filters": ["limit", "answers"]}, filters={"limit": limit, "answers": {"type": "cache", "rules": RULES}})
    first, again = ask(served), ask(served)
    usage = json.loads(first.body)["usage"]
    assert first.body == again.body
    saved = 2 * usage["prompt_tokens"] + 8 * usage["completion_tokens"]
    assert f'postern_cache_saved_cost_millionths_total{{filter="answers",model="*"}} {saved}' in served.metrics()


# ---- many at once ----

CROWD = 1000
WORDS = [f"word-{number} " for number in range(40)]


class Held:
    """An upstream that streams when it is told to."""

    def __init__(self):
        self.go = threading.Event()
        self.gone = threading.Event()

    def __call__(self, received, connection):
        connection.start_stream()
        events = answers.chat_stream(words=WORDS)
        try:
            for event in events[:3]:
                connection.piece(event)
            assert self.go.wait(wire.TIMEOUT)
            for event in events[3:]:
                connection.piece(event)
            connection.end()
        except OSError:
            self.gone.set()


def connect_all(port, count, text="hi"):
    request = wire.request("POST", CHAT, body(text, stream=True))
    crowd = []
    for _ in range(count):
        one = socket.create_connection(("127.0.0.1", port), timeout=wire.TIMEOUT)
        one.sendall(request)
        crowd.append(one)
    return crowd


def read_first(crowd):
    """Until each has had some of its answer."""
    for one in crowd:
        assert one.recv(1, socket.MSG_PEEK)


def read_all(crowd):
    """What each gets until its chunked body ends."""
    got = {one: b"" for one in crowd}
    with selectors.DefaultSelector() as selector:
        for one in crowd:
            one.setblocking(False)
            selector.register(one, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(wire.TIMEOUT)
            assert ready, "nothing comes any more"
            for key, _ in ready:
                part = key.fileobj.recv(1 << 20)
                got[key.fileobj] += part
                if not part or got[key.fileobj].endswith(b"0\r\n\r\n"):
                    selector.unregister(key.fileobj)
    return got


def dechunk(raw):
    head, _, rest = raw.partition(b"\r\n\r\n")
    assert b" 200 " in head.split(b"\r\n")[0], raw[:300]
    whole = b""
    while True:
        size, _, rest = rest.partition(b"\r\n")
        if int(size, 16) == 0:
            return whole
        whole += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2:]


# As clients get them that did not ask for usage: its chunk is not for them.
EXPECTED = "".join(event for event in answers.chat_stream(words=WORDS) if '"choices":[]' not in event).encode()


@pytest.mark.workers
@pytest.mark.parametrize("workers", [1, 4])
def test_a_thousand_share_one_call(gateway, upstream, workers):
    """All but the last hundred come while the answer is held up; some leave at random, the first among them; the last come late."""
    held = Held()
    server = upstream(held)
    served = gateway(server, workers=workers, **cached())
    crowd = connect_all(served.port, 1)
    server.wait(1)
    crowd += connect_all(served.port, CROWD - 101)
    read_first(crowd)
    leavers = [crowd[0], *random.Random(5).sample(crowd[1:], 99)]
    for one in leavers:
        one.close()
    stayed = [one for one in crowd if one not in set(leavers)]
    late = connect_all(served.port, 100)
    read_first(late)
    held.go.set()
    for one, raw in read_all(stayed + late).items():
        assert dechunk(raw) == EXPECTED
        one.close()
    assert len(server.requests) == 1
    results = [line["cache"] for line in served.access(CROWD)]
    assert results.count("miss") == 1 and results.count("collapsed") == CROWD - 1


@pytest.mark.workers
@pytest.mark.parametrize("workers", [1, 4])
def test_the_last_to_leave_ends_the_call(gateway, upstream, workers):
    gone = threading.Event()

    def handle(received, connection):
        connection.start_stream()
        for event in answers.chat_stream(words=WORDS)[:3]:
            connection.piece(event)
        assert connection.is_closed()
        gone.set()

    server = upstream(handle)
    served = gateway(server, workers=workers, **cached())
    crowd = connect_all(served.port, 40)
    read_first(crowd)
    for one in crowd:
        one.close()
    assert {line["outcome"] for line in served.access(40)} == {"cancelled"}
    assert gone.wait(wire.TIMEOUT)
    assert len(server.requests) == 1


@pytest.mark.workers
@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("in_time", [True, False])
def test_an_end_amid_a_shared_call(gateway, upstream, workers, in_time):
    """SIGTERM: whoever follows gets all of it while the time allows, else the reason in its stream's own words."""
    held = Held()
    server = upstream(held)
    served = gateway(server, workers=workers, drain={"delay": "0s", "grace": "20s" if in_time else "1s"}, **cached())
    crowd = connect_all(served.port, 40)
    read_first(crowd)
    served.signal(signal.SIGTERM)
    served.wait_line("drain")
    if in_time:
        held.go.set()
    for one, raw in read_all(crowd).items():
        text = dechunk(raw)
        assert text == EXPECTED if in_time else text.startswith(EXPECTED[:200]) and b'"code":"draining"' in text
        one.close()
    held.go.set()
    assert len(server.requests) == 1
    assert served.finish() == 0


# ---- tenants ----


def new_key(path, consumer):
    done = process.postern("key", "new", consumer)
    assert done.returncode == 0, done.stderr
    key, line = done.stdout.splitlines()
    with open(path, "a", encoding="ascii") as file:
        file.write(line + "\n")
    return key


@pytest.mark.workers
@pytest.mark.parametrize("scope", ["consumer", "shared"])
def test_tenants_apart(gateway, upstream, tmp_path, scope):
    """Two callers ask the same at the same time, again and again: never does one get what the other's request brought."""
    path = tmp_path / "keys"
    keys = {name: new_key(path, name) for name in ("red", "blue")}
    count = threading.Lock()
    numbers = iter(range(1, 1 << 30))

    def handle(received, connection):
        with count:
            number = next(numbers)
        connection.answer(200, answers.chat(f"answer {number}"))

    server = upstream(handle)
    served = gateway(server, workers=2, listener={"filters": ["who", "answers"]},
                     filters={"who": {"type": "authenticate", "methods": [{"api_keys": {"file": str(path)}}]},
                              "answers": {"type": "cache", "rules": RULES, "scope": scope}})

    def one(place):
        name = ("red", "blue")[place % 2]
        answer = ask(served, f"question {place % 10 // 2}", [("authorization", f"Bearer {keys[name]}")])
        assert answer.status == 200
        return name, place % 10 // 2, answer.body

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        seen = set(pool.map(one, range(400)))
    answers_of = {name: {(question, text) for who, question, text in seen if who == name} for name in keys}
    assert len(answers_of["red"]) == len(answers_of["blue"]) == 5
    if scope == "consumer":
        assert not {text for _, text in answers_of["red"]} & {text for _, text in answers_of["blue"]}
        assert len(server.requests) == 10
    else:
        assert answers_of["red"] == answers_of["blue"] and len(server.requests) == 5


# ---- pods ----


@pytest.fixture
def redis(owned, tmp_path):
    if not redis_server.is_there():
        pytest.skip("there is no redis-server here")

    def start(*options):
        server = redis_server.Server(tmp_path, *options)
        owned.callback(lambda: server.finish(kill=True))
        return server

    return start


def keys_file(tmp_path, *names):
    path = tmp_path / "cache-keys"
    lines = [f"{name}:{base64.b64encode(random.Random(name).randbytes(32)).decode()}" for name in names]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def pods(gateway, server, store, count, scope="shared", **settings):
    return [gateway(server, stores=[{"name": "shared", "redis": {"url": store.url}}],
                    **cached(store="shared", scope=scope, **settings))
            for _ in range(count)]


def kept(store):
    with redis_server.Connection(store.port) as connection:
        return [name for name in connection.ask("KEYS", "*") if ":e:" in name]


def test_pods_share_a_store(gateway, upstream, redis, tmp_path):
    store, server = redis(), upstream(echo)
    one, other = pods(gateway, server, store, 2, seal={"keys": {"file": keys_file(tmp_path, "a")}})
    one.wait_until(lambda: ask(one, "warm").status == 200 and len(kept(store)) >= 1)
    assert result(ask(one, CANARY_PROMPT)) == "postern; fwd=uri-miss"
    one.wait_until(lambda: len(kept(store)) == 2)
    again = ask(other, CANARY_PROMPT)
    assert result(again).startswith("postern; hit"), again.headers
    assert len(server.requests) == 2
    assert result(ask(other, CANARY_PROMPT, stream=True)).startswith("postern; hit")


def test_a_sealed_store_tells_nothing(gateway, upstream, redis, tmp_path):
    store = redis()
    text = CANARY_ANSWER + " " + "lorem ipsum " * 300
    server = upstream(lambda received, connection: connection.answer(200, answers.chat(text)))
    (served,) = pods(gateway, server, store, 1, seal={"keys": {"file": keys_file(tmp_path, "a")}})
    served.wait_until(lambda: ask(served, CANARY_PROMPT).status == 200 and len(kept(store)) >= 1)
    with redis_server.Connection(store.port) as connection:
        connection.ask("SAVE")
    dump = (tmp_path / "dump.rdb").read_bytes()
    assert len(dump) > 100 and b"PCE" in dump
    for plain in (CANARY_PROMPT, CANARY_ANSWER, "lorem", "gpt-4o", "assistant", "first"):
        assert plain.encode() not in dump, plain


def test_tampered_entries_are_misses(gateway, upstream, redis, tmp_path):
    store, server = redis(), upstream(echo)
    keys = keys_file(tmp_path, "a")
    one, other = pods(gateway, server, store, 2, seal={"keys": {"file": keys}})
    one.wait_until(lambda: ask(one).status == 200 and len(kept(store)) == 1)
    before = len(server.requests)
    with redis_server.Connection(store.port) as connection:
        connection.ask("SETRANGE", kept(store)[0], 60, "x")
    assert result(ask(other)) == "postern; fwd=uri-miss"
    assert len(server.requests) == before + 1
    assert 'postern_cache_lookups_total{filter="answers",result="broken"} 1' in other.metrics()


def test_nobody_is_no_tenant_in_a_store(gateway, upstream, redis, tmp_path):
    """Whom nobody has authenticated is this pod in its own memory; in a store he could be any pod."""
    store, server = redis(), upstream(echo)
    (served,) = pods(gateway, server, store, 1, scope="consumer", seal={"keys": {"file": keys_file(tmp_path, "a")}})
    for _ in range(2):
        assert result(ask(served)) == "postern; fwd=bypass; detail=no_consumer"
    assert len(server.requests) == 2 and not kept(store)


def purge(path, what=""):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        sock.sendall(wire.request("POST", f"/cache/purge{what}"))
        page = wire.Stream(sock)
        head = page.head()
        return head.status, json.loads(page.exactly(int(head.get("content-length"))))


@pytest.mark.parametrize("what", ["", "?model=gpt-4o", "?model=other"])
def test_a_purge_covers_what_is_on_its_way(gateway, upstream, tmp_path, what):
    """An answer that was asked for before a purge reaches its client, and is not kept."""
    go = threading.Event()

    def handle(received, connection):
        assert go.wait(wire.TIMEOUT)
        echo(received, connection)

    server = upstream(handle)
    served = gateway(server, admin={"control": f"unix:{tmp_path}/control"}, **cached())
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ask, served)
        server.wait(1)
        assert purge(tmp_path / "control", what)[0] == 200
        go.set()
        assert waiting.result().status == 200
    kept_it = result(ask(served)).startswith("postern; hit")
    assert kept_it == (what == "?model=other")
    assert len(server.requests) == (1 if kept_it else 2)


@pytest.mark.parametrize("what", ["model=gpt-4o", "key"])
def test_a_purge_reaches_every_pod(gateway, upstream, redis, tmp_path, what):
    store, server = redis(), upstream(echo)
    control = [tmp_path / f"control-{number}" for number in range(2)]
    settings = cached(store="shared", scope="shared", seal={"keys": {"file": keys_file(tmp_path, "a")}})
    one, other = (gateway(server, stores=[{"name": "shared", "redis": {"url": store.url}}],
                          admin={"control": f"unix:{path}"}, **settings) for path in control)
    for served in (one, other):
        served.wait_until(lambda: result(ask(served)).startswith("postern; hit"))
    asked = len(server.requests)
    if what == "key":
        what = "key=" + ask(one).get("cache-status").split('key="')[1].split('"')[0]
    status, told = purge(control[0], f"?{what}")
    assert status == 200 and told == {"caches": [{"filter": "answers", "removed": 1, "store": "marked"}]}
    assert result(ask(one)) == "postern; fwd=uri-miss"
    other.wait_until(lambda: not result(ask(other)).startswith("postern; hit") or len(server.requests) > asked + 1)


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_a_store_that_goes_is_a_miss(gateway, upstream, redis, tmp_path, how):
    """Neither its death nor its silence fails a request or a flight under way."""
    store, held = redis(), Held()

    def handle(received, connection):
        if json.loads(received.body).get("stream"):
            held(received, connection)
        else:
            echo(received, connection)

    server = upstream(handle)
    (served,) = pods(gateway, server, store, 1, seal={"keys": {"file": keys_file(tmp_path, "a")}})
    served.wait_until(lambda: ask(served).status == 200 and len(kept(store)) >= 1)
    crowd = connect_all(served.port, CROWD, text="together")
    read_first(crowd)
    store.child.send_signal(signal.SIGKILL if how == "killed" else signal.SIGSTOP)
    try:
        for number in range(30):
            assert ask(served, f"other {number}").status == 200
        held.go.set()
        for one, raw in read_all(crowd).items():
            assert dechunk(raw) == EXPECTED
            one.close()
        assert result(ask(served, "other 1")).startswith("postern; hit")
    finally:
        store.child.send_signal(signal.SIGCONT)
    assert len([one for one in server.requests if b"together" in one.body]) == 1
    assert all(line["status"] == 200 for line in served.access(CROWD + 30))


def test_one_pod_asks_for_all(gateway, upstream, redis, tmp_path):
    """With a lease, what several pods want at the same time is fetched once."""
    store, go = redis(), threading.Event()

    def handle(received, connection):
        if b"warm" not in received.body:
            assert go.wait(wire.TIMEOUT)
        echo(received, connection)

    server = upstream(handle)
    keys = keys_file(tmp_path, "a")
    served = pods(gateway, server, store, 3, seal={"keys": {"file": keys}}, lease="30s")
    for number, one in enumerate(served):
        one.wait_until(lambda: ask(one, f"warm {number}").status == 200 and len(kept(store)) >= number + 1)
    before = len(server.requests)
    with concurrent.futures.ThreadPoolExecutor(9) as pool:
        waiting = [pool.submit(ask, served[place % 3], "together") for place in range(9)]
        server.wait(before + 1)
        with redis_server.Connection(store.port) as connection:
            served[0].wait_until(lambda: any(":l:" in name for name in connection.ask("KEYS", "*")))
        go.set()
        assert {one.result().status for one in waiting} == {200}
    assert len(server.requests) == before + 1
