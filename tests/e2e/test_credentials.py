# SPDX-License-Identifier: Apache-2.0
"""How Postern proves itself to targets: every kind of credential, against an authority that verifies what it is shown."""
import concurrent.futures
import json
import re
import signal
import ssl
import time
import urllib.parse

import pytest
from harness import answers, authority as authorities, certificates as making, process
from harness.authority import CLIENT_ID, IMDS_PATH, OBJECT_ID, SCOPE, SECRET, TENANT, TOKEN_PATH, plainly, refuse

CHAT = "/v1/chat/completions"
UNAUTHORIZED = json.dumps({"statusCode": 401, "message": "Unauthorized. Access token is missing, invalid, audience is "
                           "incorrect (https://cognitiveservices.azure.com), or have expired."})
LACKS_ROLE = json.dumps({"error": {"code": "PermissionDenied", "message": "The principal `x` lacks the required data action `y`."}})
KINDS = ("workload_identity", "client_secret", "client_certificate", "rs256", "managed_identity")


@pytest.fixture
def cluster(tmp_path):
    return authorities.Cluster(tmp_path / "token")


@pytest.fixture(scope="session")
def signing(tmp_path_factory):
    """An application's certificate and RSA key, as paths."""
    folder = tmp_path_factory.mktemp("application")
    certificate, key = folder / "app.crt", folder / "app.key"
    making.openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", 2, "-subj", "/CN=app", "-keyout", key, "-out", certificate)
    return certificate, key


@pytest.fixture
def authority(owned, cluster, signing):
    def start(kind=authorities.Authority, **options):
        made = kind(cluster=cluster, certificate=signing[0], **options)
        owned.callback(made.close)
        return made

    return start


def environment(cluster, authority):
    """What the webhook sets in the pod."""
    return {"AZURE_CLIENT_ID": CLIENT_ID, "AZURE_TENANT_ID": TENANT, "AZURE_FEDERATED_TOKEN_FILE": str(cluster.token_file),
            "AZURE_AUTHORITY_HOST": authority.url + "/"}


def credential(kind, authority, signing):
    """The configuration of one credential of that kind, named entra."""
    app = {"tenant": TENANT, "client_id": CLIENT_ID, "authority": authority.url}
    certificate = {**app, "certificate": str(signing[0]), "key": str(signing[1])}
    return {"name": "entra", **{
        "workload_identity": {"workload_identity": {}},
        "client_secret": {"client_secret": {**app, "secret": {"env": "APP_SECRET"}}},
        "client_certificate": {"client_certificate": certificate},
        "rs256": {"client_certificate": {**certificate, "algorithm": "RS256"}},
        "managed_identity": {"managed_identity": {"client_id": CLIENT_ID, "endpoint": authority.url}},
    }[kind]}


@pytest.fixture
def keyless(gateway, cluster, signing):
    """keyless(AUTHORITY, UPSTREAM, ...): a gateway whose targets all use the credential `entra` of that kind."""
    def start(authority, *servers, kind="workload_identity", env=None, **config):
        def edit(targets):
            for target in targets:
                target["credential"] = "entra"

        return gateway(*servers, edit=edit, credentials=[credential(kind, authority, signing)],
                       env={**environment(cluster, authority), "APP_SECRET": SECRET, **(env or {})}, **config)

    return start


def believer(authority, slack=0):
    """A model server that serves whoever shows a token of the authority's."""
    def handle(received, connection):
        if authority.believes(received, slack):
            connection.answer(200, answers.chat("served"))
        else:
            connection.answer(401, UNAUTHORIZED)

    return handle


def ask(gateway, **more):
    with gateway.client() as client:
        return client.ask("POST", CHAT, answers.ask(**more))


def code_of(answer):
    return json.loads(answer.body)["error"]["code"]


def hides_tokens(gateway, authority):
    written = gateway.output() + gateway.metrics() + (gateway.access_path.read_text() if gateway.access_path.exists() else "")
    for token in authority.issued:
        assert token not in written and token.rsplit(".", 1)[1] not in written
    for asked in authority.asked:
        for name in ("client_assertion", "client_secret"):
            assert asked.form.get(name, "no such text") not in written


def header(received, name):
    return next((value for key, value in received.headers if key.lower() == name), None)


# ---- tokens ----

@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_opens_the_target(authority, upstream, keyless, kind):
    managed = kind == "managed_identity"
    issuer = authority(authorities.Metadata if managed else authorities.Authority)
    server = upstream(believer(issuer))
    gateway = keyless(issuer, server, kind=kind)
    assert ask(gateway).status == 200
    assert ask(gateway).status == 200
    assert len(issuer.asked) == 1
    assert header(server.requests[0], "authorization").startswith("Bearer ") and header(server.requests[0], "api-key") is None
    gateway.wait_line(r"entra \((workload|managed|client)_\w+\): there is a token")
    hides_tokens(gateway, issuer)


def test_written_at_the_target(authority, upstream, gateway, cluster):
    issuer = authority()
    server = upstream(believer(issuer))

    def edit(targets):
        targets[0]["credential"] = {"workload_identity": {"scope": "api://other/.default"}}

    assert ask(gateway(server, edit=edit, env=environment(cluster, issuer))).status == 200
    assert issuer.asked[0].form["scope"] == "api://other/.default"


def test_form_is_that_of_azure_identity(authority, upstream, keyless, cluster, certificates, monkeypatch):
    """WorkloadIdentityCredential of the Azure SDK asks the same authority: same path, same fields, same values."""
    azure_identity = pytest.importorskip("azure.identity")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate, certificates.key)
    secure = authority(tls=context)
    for name, value in environment(cluster, secure).items():
        monkeypatch.setenv(name, value)
    theirs = azure_identity.WorkloadIdentityCredential(disable_instance_discovery=True, connection_verify=str(certificates.ca))
    assert theirs.get_token(SCOPE).token in secure.issued
    plain = authority()
    server = upstream(believer(plain))
    assert ask(keyless(plain, server)).status == 200
    sdk, ours = [one for one in secure.asked if one.form][-1], plain.asked[0]
    assert ours.form == {key: value for key, value in sdk.form.items() if key in ours.form}
    assert set(sdk.form) - set(ours.form) <= {"client_info"}
    assert (ours.received.method, ours.received.target) == (sdk.received.method, sdk.received.target)
    assert header(ours.received, "content-type") == header(sdk.received, "content-type")


def test_requests_share_the_first_token(authority, upstream, keyless):
    """Those that come before the first token wait for it; one request for a token serves them all."""
    issuer = authority()

    def slowly(asked, connection):
        time.sleep(1)
        issuer.itself(asked, connection)

    issuer.script.append(slowly)
    server = upstream(believer(issuer))
    gateway = keyless(issuer, server)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(lambda _: ask(gateway).status, range(16)))
    assert statuses == [200] * 16 and len(issuer.asked) == 1


def test_two_targets_share_one_identity(authority, upstream, keyless):
    issuer = authority()
    busy = upstream(lambda received, connection: connection.answer(503, answers.error("busy")))
    server = upstream(believer(issuer))
    assert ask(keyless(issuer, busy, server)).status == 200
    assert len(issuer.asked) == 1 and header(busy.requests[0], "authorization") == header(server.requests[0], "authorization")


def test_ten_thousand_requests_across_fifty_tokens(authority, upstream, keyless, cluster):
    issuer = authority(life=1)
    server = upstream(believer(issuer, slack=1))
    gateway = keyless(issuer, server)
    done = []

    def client():
        with gateway.client() as mine:
            while len(done) < 10000 or len(issuer.asked) < 50:
                done.append(mine.ask("POST", CHAT, answers.ask()).status)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        workers = [pool.submit(client) for _ in range(4)]
        while not all(worker.done() for worker in workers):
            time.sleep(0.5)
            cluster.rotate()
        for worker in workers:
            worker.result()
    assert set(done) == {200} and len(done) >= 10000
    assert len(issuer.asked) >= 50 and len(issuer.issued) == len(issuer.asked)


# ---- refusals ----

@pytest.mark.parametrize("code, words", [
    (70021, "federated"), (700213, "subject"), (7002138, "lower case"), (700211, "issuer"), (700212, "audience"),
    (700024, "time range"), (70011, "scope"), (700016, "client_id"), (7000215, "secret"), (500011, "resource"), (999999, "refused"),
])
def test_error_is_named_with_its_remedy(authority, upstream, keyless, code, words):
    issuer = authority()
    issuer.always = refuse(code)
    server = upstream(believer(issuer))
    gateway = keyless(issuer, server)
    answer = ask(gateway)
    assert answer.status == 502 and code_of(answer) == "credential_unavailable"
    assert "AADSTS" not in answer.body.decode() and "entra" not in answer.body.decode()
    line = gateway.wait_line(rf"entra \(workload_identity\): there is no token: (.*AADSTS{code}, HTTP 400.*)").group(1)
    assert words in line, line
    assert gateway.probe("/readyz") == 200, "an authority's outage must not take pods away"
    attempt = gateway.access(1)[0]
    assert f"AADSTS{code}" in json.dumps(attempt)
    assert 'postern_credential_workers{credential="entra",state="failing"} 1' in gateway.metrics()
    assert not server.requests
    # It backs off: what comes next is told at once, without another request to the authority.
    before = len(issuer.asked)
    assert ask(gateway).status == 502 and len(issuer.asked) == before <= (2 if code == 700024 else 1)


@pytest.mark.parametrize("act, least", [
    (refuse(90061, "The OIDC issuer could not be reached"), 0.9),
    (refuse(700024, "too old"), 0.0),
    (plainly(503, "<html>busy</html>", content_type="text/html"), 0.9),
    (plainly(429, "{}", [("retry-after", "2")]), 1.9),
    (plainly(200, "no json"), 0.9),
    (plainly(200, "{}"), 0.9),
    (plainly(200, json.dumps({"access_token": "a\nb", "expires_in": 3600})), 0.9),
    (plainly(200, json.dumps({"access_token": "a", "expires_in": 3600, "token_type": "mac"})), 0.9),
    (plainly(200, json.dumps({"access_token": "a"})), 0.9),
    (plainly(200, "x" * 100000), 0.9),
    (authorities.hang_up, 0.9),
], ids=["90061", "700024", "503", "429", "no json", "empty", "line break", "type", "no end", "large", "hang up"])
def test_passing_failure_is_waited_out(authority, upstream, keyless, act, least):
    issuer = authority()
    issuer.script.append(act)
    server = upstream(believer(issuer))
    gateway = keyless(issuer, server)
    assert ask(gateway).status == 200
    assert len(issuer.asked) == 2 and issuer.asked[1].at - issuer.asked[0].at >= least
    assert len(server.requests) == 1


def test_next_target_is_tried_at_once(authority, upstream, gateway, cluster):
    """A credential that cannot be had costs its own target only, however soon it may come back."""
    issuer = authority()
    issuer.always = plainly(503)
    first, second = upstream(believer(issuer)), upstream(lambda received, connection: connection.answer(200, answers.chat("second")))

    def edit(targets):
        targets[0]["credential"] = {"workload_identity": {}}

    running = gateway(first, second, edit=edit, env=environment(cluster, issuer))
    assert ask(running).status == 200 and not first.requests
    attempts = running.access(1)[0]
    assert "credential" in json.dumps(attempts).lower()


def test_old_token_serves_while_renewal_fails(authority, upstream, keyless):
    issuer = authority(life=8)
    server = upstream(believer(issuer))
    gateway = keyless(issuer, server)
    assert ask(gateway).status == 200
    issuer.always = plainly(500)
    gateway.wait_line(r"renewing failed, the old token still serves: the authority has an error of its own \(HTTP 500\)")
    assert ask(gateway).status == 200 and len(issuer.asked) >= 2
    issuer.always = None
    gateway.wait_until(lambda: gateway.output().count("there is a token") == 2)
    assert ask(gateway).status == 200


def test_token_file_is_read_for_every_token(authority, upstream, keyless, cluster):
    issuer = authority(life=2)
    server = upstream(believer(issuer))
    gateway = keyless(issuer, server)
    assert ask(gateway).status == 200
    cluster.rotate(cluster.token() + "\n")
    gateway.wait_until(lambda: len(issuer.asked) >= 2)
    assert issuer.asked[0].form["client_assertion"] != issuer.asked[1].form["client_assertion"] == cluster.token_file.read_text().strip()


@pytest.mark.parametrize("content", ["", "two\nlines", "x" * 70000])
def test_token_file_that_cannot_be_used(authority, upstream, keyless, cluster, content):
    cluster.rotate(content)
    issuer = authority()
    gateway = keyless(issuer, upstream(believer(issuer)))
    assert ask(gateway).status == 502
    gateway.wait_line(r"there is no token: the token file .*/azure-identity-token: ")
    assert not issuer.asked


# ---- targets that refuse ----

def test_young_token_is_not_asked_about_again(authority, upstream, keyless):
    issuer = authority()
    server = upstream(lambda received, connection: connection.answer(401, UNAUTHORIZED))
    answer = ask(keyless(issuer, server))
    assert answer.status == 502 and code_of(answer) == "upstream_credential_refused"
    assert len(server.requests) == 1 and len(issuer.asked) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_missing_role_does_not_loop(authority, upstream, keyless, status):
    issuer = authority()
    server = upstream(lambda received, connection: connection.answer(status, LACKS_ROLE))
    gateway = keyless(issuer, server)
    for _ in range(3):
        answer = ask(gateway)
        assert answer.status == 502 and code_of(answer) == "upstream_credential_refused"
    assert len(server.requests) == 3 and len(issuer.asked) == 1
    if status == 401:
        gateway.wait_line(r"target first answers 401, the identity lacks the role; assign it Cognitive Services OpenAI User")
        assert gateway.output().count("lacks the role") == 1


def test_service_account_token_is_tried_again_when_rotated(upstream, gateway, cluster):
    """The file changes a moment before the request: the old one's 401 is not the client's to see."""
    good = []

    def central(received, connection):
        fresh = header(received, "authorization") == f"Bearer {good[-1]}"
        connection.answer(200 if fresh else 401, answers.chat("served") if fresh else UNAUTHORIZED)

    server = upstream(central)

    def edit(targets):
        targets[0]["credential"] = {"service_account_token": str(cluster.token_file)}

    good.append(cluster.token_file.read_text().strip())
    running = gateway(server, edit=edit)
    for _ in range(5):
        assert ask(running).status == 200
        cluster.rotate()
        good.append(cluster.token_file.read_text().strip())
    assert ask(running).status == 200
    assert running.output().count("Bearer") == 0 and good[0] not in running.output()


# ---- keys ----

def test_key_file_is_read_again(upstream, gateway, tmp_path):
    key = tmp_path / "key"
    key.write_text("first-key\n")
    server = upstream(lambda received, connection: connection.answer(200, answers.chat("served")))

    def edit(targets):
        targets[0]["credential"] = {"api_key": {"file": str(key)}}

    running = gateway(server, edit=edit)
    assert ask(running).status == 200 and header(server.requests[-1], "authorization") == "Bearer first-key"
    key.write_text("")
    running.wait_until(lambda: ask(running).status == 200 and "there is" in running.output() or "renewing" in running.output())
    assert header(server.requests[-1], "authorization") == "Bearer first-key", "the last good one stays"
    key.write_text("second-key")
    running.wait_until(lambda: ask(running).status == 200 and header(server.requests[-1], "authorization") == "Bearer second-key")


def test_clients_own_goes_to_its_host_unchanged(upstream, gateway):
    def service(received, connection):
        connection.answer(401, '{"error":{"message":"Incorrect API key provided","code":"invalid_api_key"}}')

    server = upstream(service)

    def edit(targets):
        targets[0]["credential"] = {"client": {}}

    with gateway(server, edit=edit).client() as client:
        answer = client.ask("POST", CHAT, answers.ask(), [("authorization", "Bearer own"), ("api-key", "own-too"), ("cookie", "c=1")])
    assert answer.status == 401 and b"Incorrect API key" in answer.body
    received = server.requests[0]
    assert (header(received, "authorization"), header(received, "api-key"), header(received, "cookie")) == ("Bearer own", "own-too", None)


# ---- the way to the authority ----

def test_authority_over_tls(authority, upstream, gateway, cluster, certificates):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate, certificates.key)
    issuer = authority(tls=context)
    server = upstream(believer(issuer))

    def edit(targets):
        targets[0]["credential"] = {"workload_identity": {"ca": str(certificates.ca)}}

    assert ask(gateway(server, edit=edit, env=environment(cluster, issuer))).status == 200


def test_authority_that_cannot_be_verified(authority, upstream, keyless, certificates):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate, certificates.key)
    issuer = authority(tls=context)
    gateway = keyless(issuer, upstream(believer(issuer)))
    gateway.wait_line(r"there is no token: no answer could be had: .*certificate verify failed")
    assert not issuer.asked


@pytest.mark.parametrize("given", ["file", "data"])
def test_identity_bindings(authority, upstream, keyless, tmp_path, given):
    """The request goes to the cluster's token proxy under another server name, path and form as for the authority."""
    files = making.make(tmp_path, "DNS:proxy.ests.aks")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    names = []
    context.sni_callback = lambda sock, name, _: names.append(name)
    proxy, direct = authority(tls=context), authority()
    server = upstream(believer(proxy))
    env = {"AZURE_KUBERNETES_TOKEN_PROXY": proxy.url, "AZURE_KUBERNETES_SNI_NAME": "proxy.ests.aks"}
    env |= {"AZURE_KUBERNETES_CA_FILE": str(files.ca)} if given == "file" else {"AZURE_KUBERNETES_CA_DATA": files.ca.read_text()}
    assert ask(keyless(direct, server, env=env)).status == 200
    assert names == ["proxy.ests.aks"] and not direct.asked
    assert proxy.asked[0].received.target == TOKEN_PATH and proxy.asked[0].form["scope"] == SCOPE


def test_metadata_service_is_asked_directly(authority, upstream, keyless):
    issuer = authority(authorities.Metadata)
    server = upstream(believer(issuer))
    gateway = keyless(issuer, server, kind="managed_identity",
                      env={"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": ""})
    assert ask(gateway).status == 200
    path, _, query = issuer.asked[0].received.target.partition("?")
    assert path == IMDS_PATH and dict(urllib.parse.parse_qsl(query)) == {
        "api-version": "2018-02-01", "resource": SCOPE.removesuffix("/.default"), "client_id": CLIENT_ID}


def test_unknown_identity_at_the_metadata_service(authority, upstream, keyless):
    issuer = authority(authorities.Metadata)
    issuer.always = plainly(400, '{"error":"invalid_request","error_description":"Identity not found"}')
    gateway = keyless(issuer, upstream(believer(issuer)), kind="managed_identity")
    assert ask(gateway).status == 502
    gateway.wait_line(r"the metadata service refused \(HTTP 400, invalid_request\); assign the identity")


# ---- the configuration ----

def test_what_the_webhook_did_not_set_is_named(tmp_path):
    path = tmp_path / "postern.yaml"
    path.write_text(json.dumps({
        "apiVersion": "postern/v1", "listeners": [{"address": "127.0.0.1:0"}],
        "credentials": [{"name": "entra", "workload_identity": {}}],
        "targets": [{"name": "t", "azure": {"endpoint": "https://c.openai.azure.com"}, "credential": "entra"}],
        "models": [{"name": "*", "targets": ["t"]}]}, indent=1))
    done = process.postern("run", "--config", path)
    assert done.returncode != 0
    for name in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE"):
        assert re.search(rf'postern.yaml:\d+:\d+: .*{name} is not set; does the pod carry the label', done.stderr), done.stderr


def test_reload_keeps_the_token(authority, upstream, keyless):
    issuer = authority()
    server = upstream(believer(issuer))
    gateway = keyless(issuer, server)
    assert ask(gateway).status == 200
    config = json.loads(gateway.config_path.read_text())
    config["credentials"][0]["name"] = "renamed"
    config["targets"][0]["credential"] = "renamed"
    gateway.config_path.write_text(json.dumps(config))
    gateway.signal(signal.SIGHUP)
    gateway.wait_line(r"(?i)reload|generation 2|configuration")
    assert ask(gateway).status == 200 and len(issuer.asked) == 1
    assert OBJECT_ID not in gateway.output()
