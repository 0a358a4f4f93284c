# SPDX-License-Identifier: Apache-2.0
"""Who may enter, and as whom: keys, tokens, certificates and the own pod, against the real binary."""
import collections
import http.client
import json
import os
import signal
import ssl
import threading
import time

import pytest
from harness import answers, certificates as making, issuer as issuers, process
from harness.process import CANARY_TARGET_KEY

CHAT = "/v1/chat/completions"


def handle(received, connection):
    connection.answer(200, answers.chat("hello"))


@pytest.fixture
def issuer(owned):
    def start(*keys):
        made = issuers.Issuer(*keys)
        owned.callback(made.close)
        return made

    return start


@pytest.fixture
def guarded(gateway, upstream):
    """guarded(METHOD...): a gateway that knows callers by these methods, and its upstream."""
    def start(*methods, authorize=None, env=None, **config):
        filters = {"authenticate": {"methods": list(methods)}}
        if authorize:
            filters["authorize"] = authorize
        listener = {"filters": list(filters), **config.pop("listener", {})}
        server = upstream(handle)
        return gateway(server, filters=filters, listener=listener, env=env, **config), server

    return start


def new_key(path, consumer="search", *options, pepper=None):
    """Makes a key, appends its stored form to the file, returns the key."""
    given = ["--pepper-file", pepper] if pepper else []
    done = process.postern("key", "new", consumer, *options, *given)
    assert done.returncode == 0, done.stderr
    key, line = done.stdout.splitlines()
    assert key not in line and key.split("_", 2)[2] not in line
    with open(path, "a", encoding="ascii") as file:
        file.write(line + "\n")
    return key


def ask(gateway, *headers, path=CHAT, method="POST", model="gpt-4o"):
    with gateway.client() as client:
        return client.ask(method, path, answers.ask(model=model) if method == "POST" else b"", headers)


def bearer(text):
    return ("authorization", f"Bearer {text}")


def message_of(answer):
    return json.loads(answer.body)["error"]["message"]


def consumer_of(gateway, count=1):
    return gateway.access(count)[-1].get("consumer")


# ---- keys ----


@pytest.mark.parametrize("header", [lambda key: bearer(key), lambda key: ("authorization", f"bearer {key}"), lambda key: ("Api-Key", key),
                                    lambda key: ("x-team-key", key)])
def test_key_wherever_it_stands(guarded, tmp_path, header):
    keys = tmp_path / "keys.yaml"
    key = new_key(keys, "search", "--group", "research")
    made, server = guarded({"api_keys": {"file": str(keys), "headers": ["X-Team-Key"]}})
    assert ask(made, header(key)).status == 200
    assert consumer_of(made) == "search"
    forwarded = server.requests[0].raw.decode()
    assert key not in forwarded and "x-team-key" not in forwarded.lower() and CANARY_TARGET_KEY in forwarded
    assert key not in made.access_path.read_text() + made.output()


def test_key_refusals_tell_nothing(guarded, tmp_path):
    keys = tmp_path / "keys.yaml"
    key = new_key(keys)
    old = new_key(keys, "late", "--expires", "2020-01-01")
    made, server = guarded({"api_keys": {"file": str(keys)}})
    wrong_secret = ask(made, bearer(key[:-2] + ("AA" if key[-2:] != "AA" else "BB")))
    wrong_id = ask(made, bearer(f"pk_0000000000000000_{key.split('_', 2)[2]}"))
    assert (wrong_secret.status, wrong_secret.body) == (401, wrong_id.body)
    assert wrong_secret.get("www-authenticate") == 'Bearer realm="postern", error="invalid_token"'
    assert json.loads(wrong_secret.body)["error"]["code"] == "invalid_api_key"
    none = ask(made)
    assert none.status == 401 and none.get("www-authenticate") == 'Bearer realm="postern"'
    assert "no credential" in message_of(none)
    assert "none of the kinds" in message_of(ask(made, bearer("sk-something")))
    assert "expired" in message_of(ask(made, bearer(old)))
    assert not server.requests
    metrics = made.metrics()
    assert 'postern_authentication_failures_total{method="api_key",reason="unknown"} 2' in metrics
    assert 'postern_authentication_failures_total{method="none",reason="missing"} 1' in metrics
    assert 'postern_authentication_failures_total{method="api_key",reason="expired"} 1' in metrics


def test_key_rotation(guarded, tmp_path):
    """A mounted Secret changes by a swap of links; what is broken changes nothing."""
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
    first, second = new_key(tmp_path / "one" / "keys.yaml"), new_key(tmp_path / "two" / "keys.yaml")
    (tmp_path / "three" / "keys.yaml").write_text("- {\"id\": \"x\"}\n")
    link, link_next = tmp_path / "..data", tmp_path / "..next"
    (tmp_path / "keys.yaml").symlink_to("..data/keys.yaml")
    link.symlink_to("one")
    made, _ = guarded({"api_keys": str(tmp_path / "keys.yaml")})
    assert ask(made, bearer(first)).status == 200 and ask(made, bearer(second)).status == 401

    def swap(to):
        link_next.symlink_to(to)
        os.rename(link_next, link)

    swap("two")
    made.wait_until(lambda: ask(made, bearer(second)).status == 200)
    assert ask(made, bearer(first)).status == 401
    swap("three")
    made.wait_line(r"keys.yaml:1:1: \"digest\" is missing; the keys read before stay in force")
    assert ask(made, bearer(second)).status == 200


def test_pepper(guarded, tmp_path):
    keys, pepper, other = tmp_path / "keys.yaml", tmp_path / "pepper", tmp_path / "other"
    pepper.write_text("salt and pepper\n")
    other.write_text("vinegar")
    good, bad = new_key(keys, pepper=pepper), new_key(keys, pepper=other)
    made, _ = guarded({"api_keys": {"file": str(keys), "pepper": {"file": str(pepper)}}})
    assert ask(made, bearer(good)).status == 200 and ask(made, bearer(bad)).status == 401


def test_key_file_errors(tmp_path):
    keys, config = tmp_path / "keys.yaml", tmp_path / "c.yaml"
    config.write_text(json.dumps({
        "apiVersion": "postern/v1", "listeners": [{"address": "127.0.0.1:1", "filters": ["authenticate"]}],
        "filters": {"authenticate": {"methods": [{"api_keys": {"file": "keys.yaml"}}]}},
        "targets": [{"name": "m", "mock": {}}], "models": [{"name": "*", "targets": ["m"]}]}))
    keys.write_text("# ours\n\nsomething\n- {\"id\": \"a_b\", \"digest\": 1, \"consumer\": \"\", \"color\": \"red\"}\n")
    done = process.postern("check", config)
    assert done.returncode == 1
    for part in ("keys.yaml:3:1: not a key", 'keys.yaml:4:1: "id" must be', 'keys.yaml:4:1: "digest" must be',
                 'keys.yaml:4:1: "consumer" must be', 'and no "color"'):
        assert part in done.stderr


# ---- tokens ----


def jwt(issuer, **more):
    return {"jwt": {"issuer": issuer.url, "audience": [issuers.AUDIENCE], "consumer_claim": "azp", **more}}


@pytest.mark.parametrize("algorithm", ["RS256", "RS512", "PS256", "PS384", "ES256", "ES384", "ES512", "EdDSA"])
def test_token_by_discovery(guarded, issuer, algorithm):
    server = issuer(issuers.Key("k", algorithm))
    made, _ = guarded(jwt(server))
    token = server.token()
    assert [ask(made, bearer(token)).status for _ in range(3)] == [200, 200, 200]
    assert consumer_of(made, 3) == "app-one"
    assert server.key_fetches() == 1
    assert token not in made.access_path.read_text() + made.output()


def test_token_refusals(guarded, issuer):
    server = issuer()
    made, behind = guarded(jwt(server))
    now = int(time.time())
    for more, reason in (({"exp": now - 120}, "expired"), ({"aud": "them"}, "audience"), ({"nbf": now + 120}, "not valid yet"),
                         ({"iss": "https://evil.example"}, "another issuer"), ({"exp": str(now + 60)}, "claim")):
        answer = ask(made, bearer(server.token(**more)))
        assert answer.status == 401 and reason in message_of(answer), message_of(answer)
    forged = issuers.Key("first").token(server.claims())
    assert "signature" in message_of(ask(made, bearer(forged)))
    none = f"{issuers.encode({'alg': 'none'})}.{issuers.encode(server.claims())}."
    assert "algorithm" in message_of(ask(made, bearer(none)))
    assert not behind.requests


def test_verified_token_ends_with_its_time(guarded, issuer):
    server = issuer()
    made, _ = guarded(jwt(server, skew="0s"))
    token = server.token(exp=int(time.time()) + 2)
    assert ask(made, bearer(token)).status == 200
    made.wait_until(lambda: ask(made, bearer(token)).status == 401)


def test_rotated_key(guarded, issuer):
    server = issuer()
    made, _ = guarded(jwt(server, floor="1s"))
    assert ask(made, bearer(server.token())).status == 200
    fresh = issuers.Key("second")
    server.keys.append(fresh)
    made.wait_until(lambda: ask(made, bearer(server.token(fresh))).status == 200)
    assert server.key_fetches() == 2
    assert ask(made, bearer(server.token())).status == 200


def test_invented_keys_ask_nobody(guarded, issuer):
    server = issuer()
    made, _ = guarded(jwt(server, floor="1h"))
    assert ask(made, bearer(server.token())).status == 200
    assert {ask(made, bearer(issuers.Key(f"x{i}").token(server.claims()))).status for i in range(5)} == {401}
    assert server.key_fetches() == 1


def test_withdrawn_key_ends_verified_tokens(guarded, issuer):
    server = issuer()
    made, _ = guarded(jwt(server, refresh="10s", floor="1s"))
    token = server.token()
    assert ask(made, bearer(token)).status == 200
    other = issuers.Key("second")
    server.keys[:] = [other]
    made.wait_until(lambda: ask(made, bearer(server.token(other))).status == 200)
    assert ask(made, bearer(token)).status == 401


def test_issuer_that_is_down(guarded, issuer):
    """Without any keys: 503 and not 401. Once there are some, they serve through an outage."""
    server = issuer()
    server.fails = 500
    made, _ = guarded(jwt(server, wait="100ms", floor="1s"))
    answer = ask(made, bearer(server.token()))
    assert answer.status == 503 and json.loads(answer.body)["error"]["code"] == "authentication_unavailable"
    assert ask(made).status == 401
    server.fails = None
    made.wait_until(lambda: ask(made, bearer(server.token())).status == 200)
    server.fails = 500
    assert ask(made, bearer(server.token(sub="another"))).status == 200
    unknown = ask(made, bearer(issuers.Key("new").token(server.claims())))
    assert unknown.status == 401 and "unknown key" in message_of(unknown)


def test_first_requests_wait_for_keys(guarded, issuer):
    server = issuer()
    server.fails = 503
    made, _ = guarded(jwt(server, wait="20s"))
    with made.client() as client:
        client.send(f"GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {server.token()}\r\n\r\n".encode())
        server.server.wait(2)
        server.fails = None
        assert client.answer().status == 200


@pytest.mark.workers
def test_rotation_under_load(guarded, issuer):
    """Keys are published, used from then on, and withdrawn two rotations later; nobody who calls meanwhile notices."""
    server = issuer()
    made, _ = guarded(jwt(server, floor="1s", refresh="10s"), workers=2)
    statuses, ended = collections.Counter(), threading.Event()

    def call():
        with made.client() as client:
            while not ended.is_set():
                statuses[client.ask("GET", "/v1/models", b"", [bearer(server.token(server.keys[-1]))]).status] += 1

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for rotation in range(4):
        fetched, until = server.key_fetches(), time.monotonic() + 1.5
        made.wait_until(lambda until=until: time.monotonic() > until)  # keys change less often than the floor allows to ask
        server.keys[:] = [*server.keys[-2:], issuers.Key(f"rotated-{rotation}")]
        made.wait_until(lambda fetched=fetched: server.key_fetches() > fetched)
    ended.set()
    for caller in callers:
        caller.join()
    assert set(statuses) == {200} and statuses[200] > 20


def test_reload_keeps_what_is_known(guarded, issuer):
    server = issuer()
    made, _ = guarded(jwt(server), authorize={"rules": [{"models": ["a"]}]})
    token = bearer(server.token())
    assert ask(made, token, model="a").status == 200 and ask(made, token, model="b").status == 404
    server.fails = 500
    made.config_path.write_text(made.config_path.read_text().replace('"a"', '"b"'))
    made.signal(signal.SIGHUP)
    made.wait_until(lambda: ask(made, token, model="b").status == 200)
    assert ask(made, token, model="a").status == 404 and server.key_fetches() == 1


def test_service_account_token(guarded, issuer, tmp_path):
    """As Kubernetes issues them: no typ, audiences as a list, the names in a nested claim; the key set from a file."""
    server = issuer(issuers.Key("k8s", "RS256"))
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [server.keys[0].jwk()]}))
    method = {"jwt": {"issuer": "https://kubernetes.default.svc.cluster.local", "audience": [issuers.AUDIENCE],
                      "jwks_file": str(tmp_path / "jwks.json"), "attributes": {"namespace": "/kubernetes.io/namespace"}}}
    made, _ = guarded(method)
    token = server.token(iss="https://kubernetes.default.svc.cluster.local", aud=[issuers.AUDIENCE],
                         sub="system:serviceaccount:apps:search",
                         **{"kubernetes.io": {"namespace": "apps", "serviceaccount": {"name": "search", "uid": "u"}}})
    assert ask(made, bearer(token)).status == 200
    assert consumer_of(made) == "system:serviceaccount:apps:search"
    assert not server.asked


def test_two_methods(guarded, issuer, tmp_path):
    server, keys = issuer(), tmp_path / "keys.yaml"
    key = new_key(keys)
    made, _ = guarded({"api_keys": {"file": str(keys)}}, jwt(server))
    assert ask(made, bearer(key)).status == 200 and ask(made, bearer(server.token())).status == 200
    answer = ask(made, bearer(server.token(aud="them")))
    assert "(jwt)" in message_of(answer)
    assert "an API key" in message_of(ask(made)) and "a token" in message_of(ask(made))


# ---- certificates and the own pod ----


def client_certificate(folder, files, name, alternative):
    key, wish, certificate = folder / f"{name}.key", folder / f"{name}.csr", folder / f"{name}.crt"
    making.openssl("req", *making.CURVE, "-subj", f"/CN={name}", "-addext", f"subjectAltName={alternative}", "-keyout", key, "-out", wish)
    making.openssl("x509", "-req", "-in", wish, "-CA", files.ca, "-CAkey", files.ca.with_suffix(".key"), "-CAcreateserial", "-days", 2,
                   "-copy_extensions", "copy", "-out", certificate)
    return certificate, key


@pytest.mark.parametrize("consumer,expected", [("san_uri", "spiffe://cluster/ns/apps/sa/search"), ("san_dns", "search.apps"),
                                               ("subject", "CN=search")])
def test_client_certificate(guarded, certificates, tmp_path, consumer, expected):
    pair = client_certificate(tmp_path, certificates, "search", "URI:spiffe://cluster/ns/apps/sa/search,DNS:search.apps")
    tls = {"certificate": str(certificates.certificate), "key": str(certificates.key), "client_ca": str(certificates.ca)}
    made, _ = guarded({"client_certificate": {"consumer": consumer, "match": [expected[:-1] + "*"]}}, listener={"tls": tls})

    def over_tls(with_certificate):
        context = ssl.create_default_context(cafile=certificates.ca)
        if with_certificate:
            context.load_cert_chain(*pair)
        connection = http.client.HTTPSConnection("127.0.0.1", made.port, context=context, timeout=20)
        connection.request("POST", CHAT, answers.ask(), {"content-type": "application/json"})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, body

    assert over_tls(True)[0] == 200
    assert consumer_of(made) == expected
    assert over_tls(False)[0] == 401


def test_peer(guarded):
    made, _ = guarded({"peer": {"consumer": {"env": "POD_SERVICE_ACCOUNT"}, "groups": ["apps"]}}, env={"POD_SERVICE_ACCOUNT": "search"})
    assert ask(made, bearer("whatever")).status == 200
    assert consumer_of(made) == "search"


def test_peer_only_where_nobody_else_gets_in(tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text(json.dumps({
        "apiVersion": "postern/v1", "listeners": [{"address": "0.0.0.0:4610", "filters": ["authenticate"]}],
        "filters": {"authenticate": {"methods": [{"peer": {"name": "search"}}]}},
        "targets": [{"name": "m", "mock": {}}], "models": [{"name": "*", "targets": ["m"]}]}))
    done = process.postern("check", config)
    assert done.returncode == 1 and "takes whoever connects for its own pod, but others can reach 0.0.0.0:4610" in done.stderr
    config.write_text(config.read_text().replace("0.0.0.0", "127.0.0.1"))
    assert process.postern("check", config).returncode == 0


# ---- permissions ----


def test_authorize(guarded, tmp_path):
    keys = tmp_path / "keys.yaml"
    research, apps = new_key(keys, "lab", "--group", "research"), new_key(keys, "shop", "--group", "apps")
    nobody = new_key(keys, "guest")
    rules = [{"groups": ["research"], "models": ["gpt-4o", "phi-*"]},
             {"consumers": ["sh*"], "models": ["gpt-4o-mini"], "operations": ["chat"]}]
    models = [{"name": name, "targets": ["first"]} for name in ("gpt-4o", "gpt-4o-mini", "phi-4", "phi-*")]
    made, behind = guarded({"api_keys": {"file": str(keys)}}, authorize={"rules": rules}, models=models)

    def models_of(key):
        return [entry["id"] for entry in json.loads(ask(made, bearer(key), path="/v1/models", method="GET").body)["data"]]

    assert models_of(research) == ["gpt-4o", "phi-4"] and models_of(apps) == ["gpt-4o-mini"]
    assert ask(made, bearer(nobody), path="/v1/models", method="GET").status == 403
    for key, model, status in ((research, "gpt-4o", 200), (research, "phi-3", 200), (research, "gpt-4o-mini", 404),
                               (apps, "gpt-4o-mini", 200), (apps, "gpt-4o", 404), (nobody, "gpt-4o", 403)):
        assert ask(made, bearer(key), model=model).status == status, model
    hidden, absent = ask(made, bearer(apps), model="gpt-4o"), ask(made, bearer(apps), model="nothing")
    assert hidden.body.replace(b"gpt-4o", b"nothing") == absent.body
    assert ask(made, bearer(apps), path="/v1/models/gpt-4o", method="GET").status == 404
    assert ask(made, bearer(apps), path="/v1/models/gpt-4o-mini", method="GET").status == 200
    assert ask(made, bearer(apps), path="/v1/embeddings", model="gpt-4o-mini").status == 403
    assert len(behind.requests) == 3


def test_stored_objects(gateway, upstream, tmp_path):
    """What one credential of ours keeps for all callers is within reach of those only whom a rule names for it."""
    keys = tmp_path / "keys.yaml"
    one, two = new_key(keys, "one"), new_key(keys, "two")
    server = upstream(handle)
    port = process.free_port()
    rules = [{}, {"consumers": ["two"], "operations": ["files", "responses_stored", "responses", "passthrough"]}]
    made = gateway(server, filters={"authenticate": {"methods": [{"api_keys": str(keys)}]}, "authorize": {"rules": rules}},
                   listeners=[{"name": "shared", "address": f"0.0.0.0:{port}", "filters": ["authenticate", "authorize"]}],
                   passthrough=[{"path": "/tokenize", "target": "first"}])
    made.port = port
    again = {"input": "go on", "previous_response_id": "resp_1"}
    cases = (("GET", "/v1/files", None), ("POST", "/tokenize", {}), ("GET", "/v1/responses/resp_1", None),
             ("POST", "/v1/responses", again), ("POST", "/v1/responses", {"input": "hi"}))
    statuses = {}
    for key in (one, two):
        for method, path, body in cases:
            with made.client() as client:
                text = b"" if body is None else json.dumps({"model": "m", **body})
                statuses.setdefault(key, []).append(client.ask(method, path, text, [bearer(key)]).status)
    assert statuses == {one: [403, 403, 403, 403, 200], two: [200] * 5}


def test_authorize_needs_a_caller(tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text(json.dumps({
        "apiVersion": "postern/v1", "listeners": [{"address": "127.0.0.1:4610", "filters": ["authorize"]}],
        "filters": {"authorize": {"rules": [{}]}},
        "targets": [{"name": "m", "mock": {}}], "models": [{"name": "*", "targets": ["m"]}]}))
    done = process.postern("check", config)
    assert done.returncode == 1 and "needs to know the caller" in done.stderr


def test_plain_denial(guarded, tmp_path):
    keys = tmp_path / "keys.yaml"
    key = new_key(keys)
    made, _ = guarded({"api_keys": {"file": str(keys)}}, authorize={"rules": [{"models": ["a"]}], "denied_model": "forbidden"})
    answer = ask(made, bearer(key), model="b")
    assert answer.status == 403 and json.loads(answer.body)["error"]["code"] == "permission_denied"
