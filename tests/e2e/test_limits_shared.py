# SPDX-License-Identifier: Apache-2.0
"""
Limits that several Posterns share through Redis. What the server carries out is logged by itself, by its own clock, and replayed here
against the law; what happens without the server is counted by the answers.
"""
import contextlib
import json
import re
import signal
import threading
import time

import openai
import pytest
from harness import crowd as crowds, process, redis_server, wire

pytestmark = pytest.mark.skipif(not redis_server.is_there(), reason="redis-server is not there")

SAY = [{"role": "user", "content": "Say something about rivers, please."}]
PROCESSES = 4


@pytest.fixture
def redis(owned, tmp_path):
    server = redis_server.Server(tmp_path)
    owned.callback(server.finish, kill=True)
    return server


def config(url, *limits, mock=None, deadline="5s"):
    """A deadline so long that a busy machine does not pass for a lost store."""
    return {
        "stores": [{"name": "shared", "redis": {"url": url, "deadline": deadline}}],
        "listener": {"filters": ["limit"]},
        "filters": {"limit": {"type": "rate_limit", "store": "shared", "limits": list(limits)}},
        "targets": [{"name": "mock", "mock": mock or {}}],
        "models": [{"name": "*", "targets": ["mock"]}],
    }


@pytest.fixture
def fleet(owned, gateway, redis):
    """fleet(*limits): four gateways with the same limits in one store, each of which has been told how many they are."""
    def start(*limits, **more):
        gateways = [gateway(**config(redis.url, *limits, **more)) for _ in range(PROCESSES)]
        with redis_server.Connection(redis.port) as connection:
            gateways[0].wait_until(lambda: connection.ask("ZCARD", "postern:n{limit}") == PROCESSES)
            # Those who came first hear of the last with their next beat.
            beats = threading.Event()
            beats.wait(4)
        return gateways

    return start


@contextlib.contextmanager
def load(owned, gateways, rate, **more):
    """`rate` requests a second at each gateway; gives the list that the results are put into at the end."""
    results = []
    crowd = [crowds.Crowd(gateway.port, clients=20, rate=rate, **more) for gateway in gateways]
    for one in crowd:
        owned.callback(one.close)
    for one in crowd:
        one.ready()
    yield results
    results += [one.stop() for one in crowd]


def statuses(results, status):
    return sum(result["statuses"].get(str(status), 0) for result in results)


def only_answers(results):
    """Nothing but granted and refused, and nobody was left without an answer."""
    for result in results:
        assert set(result["statuses"]) <= {"200", "429"} and not result["failures"], result


def writes(log, kind):
    """What scripts wrote into the keys of one kind of limit: (command, words)."""
    return [words for _, words in log if len(words) > 1 and words[1].startswith(f"postern:{kind}{{") and words[0] != "PEXPIRE"]


def reserved(connection):
    """Keys of what is reserved. A record that says "-" only remembers a settlement that came before its reservation."""
    keys = connection.ask("KEYS", "postern:[pi]*")
    return [key for key in keys if key.startswith("postern:p") or connection.ask("GET", key) not in ("-", None)]


def excess(times, burst, rate):
    """By how much the worst window of a list of times, in seconds, passes burst + rate x T."""
    worst, level, last = 0.0, 0.0, None
    # The largest sum over windows is that of a bucket that leaks by `rate`, as Lindley's recursion finds it.
    for at in sorted(times):
        level = max(0.0, level - rate * (at - last)) + 1 if last is not None else 1
        last = at
        worst = max(worst, level)
    return worst - burst


def test_the_oracle_itself():
    assert excess([0, 0, 0], 3, 1) == 0
    assert excess([0, 0, 0, 0.5], 3, 1) == 0.5
    assert excess([0, 0, 0, 1, 2, 3], 3, 1) == 0
    assert excess([0, 5, 5, 5, 5], 3, 1) == 1


@pytest.mark.parametrize("seconds", [5])
def test_rate_over_every_window(owned, redis, fleet, seconds):
    """Four times what is allowed, at four gateways: by the server's log no window holds more than the law says."""
    rate, burst = 100, 20
    gateways = fleet({"name": "rate", "requests": f"{rate}/second", "burst": burst})
    monitor = redis_server.Monitor(redis.port)
    with load(owned, gateways, rate) as results:
        threading.Event().wait(seconds)
    log = monitor.stop()
    only_answers(results)
    # Each grant writes "made granted backlog returned".
    grants = [int(words[2].split()[1]) / 1e6 for words in writes(log, "r") if words[0] == "SET"]
    admitted = statuses(results, 200)
    over = excess(grants, burst, rate)
    print(f"\nrate: {admitted} admitted of {admitted + statuses(results, 429)}, worst window {over:+.3f} over burst + rate x T")
    assert len(grants) == admitted and statuses(results, 429) > admitted
    assert over <= 0.001  # times are microseconds, rounded
    assert admitted >= rate * seconds  # and the limit is used


def test_concurrency(owned, redis, fleet):
    most = 8
    gateways = fleet({"name": "parallel", "concurrency": most}, mock={"latency": "20ms"})
    monitor = redis_server.Monitor(redis.port)
    with load(owned, gateways, 200) as results:
        threading.Event().wait(3)
    log = monitor.stop()
    only_answers(results)
    there, peak, granted = set(), 0, 0
    for words in writes(log, "p"):
        if words[0] == "ZADD":
            there.add(words[3])
            granted += 1
        elif words[0] == "ZREM":
            there.discard(words[2])
        peak = max(peak, len(there))
    print(f"\nconcurrency: {granted} admitted, {peak} at a time")
    assert not there and peak == most
    assert granted == statuses(results, 200) and statuses(results, 429) > 0
    with redis_server.Connection(redis.port) as connection:
        assert not reserved(connection)


def test_calendar(owned, redis, fleet):
    """Requests of a day, and tokens: what the store has counted is what the answers reported."""
    gateways = fleet({"name": "day", "requests": "300/day"}, {"name": "tokens", "tokens": "10000000/day"})
    with load(owned, gateways, 100) as results:
        threading.Event().wait(2)
    only_answers(results)
    assert statuses(results, 200) == 300 and statuses(results, 429) > 0
    reported = sum(int(value) for gateway in gateways
                   for value in re.findall(r'postern_limit_tokens_total\{[^}]*basis="reported"\} (\d+)', gateway.metrics()))
    with redis_server.Connection(redis.port) as connection:
        gateways[0].wait_until(lambda: not reserved(connection))
        counts = sorted(int(connection.ask("GET", key).split()[1]) for key in connection.ask("KEYS", "postern:c*"))
    assert counts == sorted([300, reported])


def admitted_at(gateways):
    """When answers with 200 began their way, by the access logs: seconds of one clock."""
    times = []
    for gateway in gateways:
        for line in gateway.access_path.read_text().splitlines():
            entry = json.loads(line)
            if entry["status"] == 200:
                text = entry["time"].rstrip("Z")
                whole, _, part = text.partition(".")
                times.append(time.mktime(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) + float(f"0.{part or 0}"))
    return times


@pytest.mark.parametrize("how, seconds", [("freeze", 30), ("kill", 4)])
def test_lost_store(owned, tmp_path, redis, fleet, how, seconds):
    """The store is gone while four times what is allowed is asked: never more than the documented bound, never an error."""
    rate, burst = 100, 100
    gateways = fleet({"name": "rate", "requests": f"{rate}/second", "burst": burst}, deadline="20ms")
    with load(owned, gateways, rate) as results:
        pause = threading.Event()
        pause.wait(3)
        redis.signal(signal.SIGSTOP if how == "freeze" else signal.SIGKILL)
        pause.wait(seconds)
        assert all(gateway.probe("/readyz") == 200 for gateway in gateways)
        if how == "freeze":
            redis.signal(signal.SIGCONT)
        pause.wait(2)
    only_answers(results)
    # A line of the access log may come after its answer.
    gateways[0].wait_until(lambda: len(admitted_at(gateways)) >= statuses(results, 200))
    times = admitted_at(gateways)
    over = excess(times, burst, rate)
    slowest = max(result["slowest_ms"] for result in results)
    print(f"\n{how} for {seconds} s: {len(times)} admitted of {len(times) + statuses(results, 429)}, worst window {over:+.1f} over burst + "
          f"rate x T (bound: {burst + PROCESSES}); slowest answer {slowest} ms")
    assert len(times) == statuses(results, 200)
    # The log tells when a request began, not when it was decided: a window of the log may hold the decisions of one that is longer by
    # as much as an answer took.
    assert over <= burst + PROCESSES + rate * slowest / 1000
    # The shares are used: neither is everything refused while the store is gone.
    assert len(times) >= rate * (seconds + 3) * 0.8


def sdk(served, retries):
    return openai.OpenAI(base_url=f"{served.base_url}/v1", api_key="unused", max_retries=retries)


def test_sdk_backs_off(gateway, redis):
    """What one gateway has let in another refuses; the SDK raises its own error, or waits as told and succeeds by itself."""
    limits = [{"name": "slow", "requests": "2/second", "burst": 1}]
    one, other = (gateway(**config(redis.url, *limits)) for _ in range(2))
    with sdk(one, 0) as first, sdk(other, 0) as second, sdk(other, 2) as patient:
        assert first.chat.completions.create(model="m", messages=SAY).choices
        with pytest.raises(openai.RateLimitError) as refused:
            second.chat.completions.create(model="m", messages=SAY)
        assert refused.value.code == "rate_limit_exceeded"
        assert 0 < int(refused.value.response.headers["retry-after-ms"]) <= 500
        assert patient.chat.completions.create(model="m", messages=SAY).choices
    faults = [line["fault"] for line in other.access(2) if line["status"] == 429]
    assert set(faults) == {"RATE_LIMITED"}


@pytest.mark.parametrize("shown", [True, False])
def test_server_that_asks_for_certificates(owned, gateway, certificates, tmp_path, shown):
    """TLS with a client certificate: two gateways count together. Without one the store is lost, and the limit says what then happens."""
    port = process.free_port()
    server = redis_server.Server(tmp_path, "--tls-port", port, "--tls-auth-clients", "yes", "--tls-ca-cert-file", certificates.ca,
                                 "--tls-cert-file", certificates.certificate, "--tls-key-file", certificates.key)
    owned.callback(server.finish, kill=True)
    settings = config(f"rediss://localhost:{port}", {"name": "few", "requests": "3/day", "when_store_lost": "closed"})
    tls = settings["stores"][0]["redis"]["tls"] = {"ca": str(certificates.ca)}
    if shown:
        tls |= {"certificate": str(certificates.certificate), "key": str(certificates.key)}
    gateways = [gateway(**settings) for _ in range(2)]
    body = json.dumps({"model": "m", "messages": SAY})
    found = [one.client().ask("POST", "/v1/chat/completions", body).status for _ in range(2) for one in gateways]
    assert found == ([200, 200, 200, 429] if shown else [503] * 4)
    assert all(one.probe("/readyz") == 200 for one in gateways)
    with redis_server.Connection(server.port) as connection:
        keys = connection.ask("KEYS", "postern:c*")
        assert [connection.ask("GET", key).split()[1] for key in keys] == (["3"] if shown else [])


@pytest.mark.parametrize("word, status", [("open", 200), ("closed", 503), ("lease", 200)])
def test_when_store_lost(gateway, owned, redis, word, status):
    served = gateway(**config(redis.url, {"name": "few", "requests": "100/minute", "when_store_lost": word}, deadline="20ms"))
    with sdk(served, 0) as client:
        assert client.chat.completions.create(model="m", messages=SAY).choices
        redis.signal(signal.SIGKILL)
        redis.finish()
        answer = served.client().ask("POST", "/v1/chat/completions", json.dumps({"model": "m", "messages": SAY}))
        assert (answer.status, answer.get("retry-after")) == (status, "1" if status == 503 else None)
        assert 'postern_limit_total{filter="limit",limit="few",result="local"} 1' in served.metrics()
        assert served.probe("/readyz") == 200
        if word != "closed":
            assert 'postern_limit_store_waiting{filter="limit"} 0' not in served.metrics()  # what was granted without it is owed
        assert 'postern_limit_store_dropped_total{filter="limit"} 0' in served.metrics()
        assert 'postern_limit_instances{filter="limit"} 1' in served.metrics()


def of_targets(url, limits, when_store_lost="lease", second=True, deadline="5s"):
    """A target with limits in the store, and another one behind it that has none."""
    first = {"name": "first", "mock": {}, "limits": {"store": "shared", "when_store_lost": when_store_lost, **limits}}
    targets = [first, {"name": "second", "mock": {}}][: 2 if second else 1]
    return {
        "stores": [{"name": "shared", "redis": {"url": url, "deadline": deadline}}],
        "targets": targets,
        "models": [{"name": "m", "targets": [{"target": target["name"], "priority": at + 1} for at, target in enumerate(targets)]}],
    }


def ask_for(client, most):
    return client.ask("POST", "/v1/chat/completions", json.dumps({"model": "m", "messages": SAY, "max_tokens": most}))


@pytest.mark.workers
def test_a_target_is_limited_by_all_together(owned, redis, gateway):
    """Two gateways with two workers each: the target gets what it may and not one request more, the rest goes to the other one."""
    most, count = 40, 100
    gateways = [gateway(**of_targets(redis.url, {"requests": f"{most}/day"}), workers=2) for _ in range(2)]
    served = []
    for one in gateways:
        for _ in range(count // 10):
            with one.client() as client:  # each connection may be another worker's
                assert all(ask_for(client, 5).status == 200 for _ in range(5))
        served += one.access(count // 2)
    assert [line["target"] for line in served].count("first") == most
    assert all(line.get("passed_over") == [{"target": "first"}] for line in served if line["target"] == "second")
    with redis_server.Connection(redis.port) as connection:
        [key] = connection.ask("KEYS", "postern:c*")
        assert key.endswith("/first/#/requests") and connection.ask("GET", key).split()[1] == str(most)
        gateways[0].wait_until(lambda: not reserved(connection))


def test_a_target_is_charged_as_reported(redis, gateway):
    served = gateway(**of_targets(redis.url, {"tokens": "100000/day", "concurrency": 3}, second=False))
    with served.client() as client, redis_server.Connection(redis.port) as connection:
        used = sum(json.loads(ask_for(client, 1000).body)["usage"]["total_tokens"] for _ in range(4))
        served.wait_until(lambda: not reserved(connection))
        assert [connection.ask("GET", key).split()[1] for key in connection.ask("KEYS", "postern:c*")] == [str(used)]
        assert ask_for(client, 100000).status == 429
        assert [connection.ask("GET", key).split()[1] for key in connection.ask("KEYS", "postern:c*")] == [str(used)]


@pytest.mark.parametrize("word, target", [("open", "first"), ("closed", "second"), ("lease", "first")])
def test_a_target_when_its_store_is_lost(redis, gateway, word, target):
    served = gateway(**of_targets(redis.url, {"requests": "100/minute"}, word, deadline="20ms"))
    with served.client() as client:
        assert ask_for(client, 5).status == 200
        redis.signal(signal.SIGKILL)
        redis.finish()
        assert ask_for(client, 5).status == 200
    assert [line["target"] for line in served.access(2)] == ["first", target]
    assert served.probe("/readyz") == 200


def test_a_target_that_must_not_be_asked(redis, gateway):
    """No store, no other target: 429 and when to come again, so that clients wait by themselves."""
    served = gateway(**of_targets(redis.url, {"requests": "100/minute"}, "closed", second=False, deadline="20ms"))
    redis.signal(signal.SIGKILL)
    redis.finish()
    with served.client() as client:
        answer = ask_for(client, 5)
    assert (answer.status, answer.get("retry-after")) == (429, "1")
    assert 'limit="requests",result="lost"} 1' in served.metrics()


@pytest.mark.workers
def test_tokens_come_back_even(owned, redis, gateway):
    """Outages in which tokens were granted from shares: afterwards the store has counted what was reported, to the token."""
    gateways = [gateway(**config(redis.url, {"name": "day", "tokens": "100000000/day"}, deadline="20ms"), workers=2) for _ in range(2)]
    with load(owned, gateways, 50) as results:
        for _ in range(2):
            threading.Event().wait(1)
            redis.signal(signal.SIGSTOP)
            threading.Event().wait(2)
            redis.signal(signal.SIGCONT)
        threading.Event().wait(1)
    only_answers(results)
    reported = sum(int(value) for one in gateways
                   for value in re.findall(r'postern_limit_tokens_total\{[^}]*basis="reported"\} (\d+)', one.metrics()))
    with redis_server.Connection(redis.port) as connection:
        def counted():
            return sum(int(connection.ask("GET", key).split()[1]) for key in connection.ask("KEYS", "postern:c*"))

        gateways[0].wait_until(lambda: counted() == reported)
    assert reported > 0 and statuses(results, 429) == 0


@pytest.mark.parametrize("ends", ["completed", "cut"])
def test_a_drained_process_has_settled(owned, redis, tmp_path, ends):
    """The last answers of a process that ends are charged as they were reported or delivered, not as they were reserved."""
    drain = {"drain": {"delay": "0s", "grace": "1s"}} if ends == "cut" else {}
    pause = "60s" if ends == "cut" else "30ms"
    dying = process.Gateway(tmp_path, {**config(redis.url, {"name": "day", "tokens": "100000/day", "per": ["consumer"]},
                                                {"name": "parallel", "concurrency": 9}, mock={"chunk_interval": pause}), **drain})
    owned.callback(dying.finish, kill=True)
    with dying.client() as client, redis_server.Connection(redis.port) as connection:
        client.send(wire.request("POST", "/v1/chat/completions", json.dumps({"model": "m", "messages": SAY, "stream": True, "max_tokens": 5000})))
        dying.wait_until(lambda: connection.ask("KEYS", "postern:p*"))
        [key] = connection.ask("KEYS", "postern:c*")
        assert int(connection.ask("GET", key).split()[1]) > 5000
        dying.signal(signal.SIGTERM)
        dying.finish()
        assert not reserved(connection)
        assert 0 < int(connection.ask("GET", key).split()[1]) < 100


def test_process_that_dies(owned, tmp_path, redis, gateway):
    """A place that a killed process held is free when its lease has passed, and no key stays for ever."""
    limits = [{"name": "parallel", "concurrency": 1}, {"name": "day", "tokens": "1000/day"}]
    dying = process.Gateway(tmp_path, config(redis.url, *limits, mock={"chunk_interval": "60s"}))
    body = json.dumps({"model": "m", "messages": SAY, "stream": True})
    with dying.client() as client, redis_server.Connection(redis.port) as connection:
        client.send(wire.request("POST", "/v1/chat/completions", body))
        dying.wait_until(lambda: connection.ask("KEYS", "postern:p*"))
        dying.finish(kill=True)
        [place] = connection.ask("KEYS", "postern:p*")
        [[_, expires]] = [connection.ask("ZRANGE", place, 0, -1, "WITHSCORES")]
        seconds, micros = connection.ask("TIME")
        assert 0 < float(expires) / 1e6 - (int(seconds) + int(micros) / 1e6) <= 60
        assert all(0 < connection.ask("PTTL", key) for key in connection.ask("KEYS", "postern:*"))
        # As if the lease had passed: another process gets the place.
        assert connection.ask("ZADD", place, 1, connection.ask("ZRANGE", place, 0, -1)[0]) == 0
    with sdk(gateway(**config(redis.url, *limits)), 0) as client:
        assert client.chat.completions.create(model="m", messages=SAY, max_tokens=5).choices
