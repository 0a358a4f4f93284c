# SPDX-License-Identifier: Apache-2.0
"""
The configurations in deploy/examples: each is good, and each serves as its comments say once the places it names (issuers, resources,
mounted files) are replaced by ones of the test.
"""
import http.client
import json
import pathlib
import ssl

import pytest
from harness import answers, authority as authorities, issuer as issuers, process
from harness.wire import TIMEOUT
from test_authenticate import new_key

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "deploy" / "examples"
EXAMPLES = sorted(path.name for path in FOLDER.glob("*.yaml"))
TENANT = "72f988bf-86f1-41af-91ab-2d7cd011db47"
AUDIENCE = "9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d"
V2 = f"https://login.microsoftonline.com/{TENANT}/v2.0"
V1 = f"https://sts.windows.net/{TENANT}/"
V1_KEYS = f"https://login.microsoftonline.com/{TENANT}/discovery/keys"
CLUSTER = f"https://westeurope.oic.prod-aks.azure.com/{TENANT}/0a1b8d5c-9e11-4f6a-9a37-1b5fc1f51f2c/"
EAST, WEST = "https://contoso-east.openai.azure.com", "https://contoso-west.openai.azure.com"


class Example(process.Gateway):
    """`postern run` with an example after `replace`, a list of (text, text); each must occur. Every key of it is kept."""

    def __init__(self, folder, name, replace, env):
        self.port, self.admin = process.free_port(), process.free_port()
        self.access_path = folder / f"access-{self.port}.log"
        self.config_path = folder / f"{self.port}-{name}"
        self.stopped = False
        text = (FOLDER / name).read_text()
        self.secure = "0.0.0.0:8443" in text
        places = [("0.0.0.0:8443" if self.secure else "127.0.0.1:4610", f"127.0.0.1:{self.port}"),
                  ('"0.0.0.0:4611"', f'"127.0.0.1:{self.admin}"')]
        for old, new in [*places, *replace]:
            assert old in text, f"{name} holds no {old}"
            text = text.replace(old, str(new))
        text += f'drain: {{delay: "0s", grace: "5s"}}\nlog: {{access: "{self.access_path}"}}\n'
        self.config_path.write_text(text)
        process.Process.__init__(self, [process.binary(), "run", "--config", self.config_path], env=env)
        self.wait_until(lambda: self.probe("/readyz") == 200)


@pytest.fixture
def entra(owned, tmp_path):
    """An authority for the gateways' own identity."""
    made = authorities.Authority(cluster=authorities.Cluster(tmp_path / "pod"))
    owned.callback(made.close)
    return made


@pytest.fixture
def resource(upstream, entra):
    """An Azure OpenAI resource that opens to the authority's tokens only."""
    def handle(received, connection):
        known = entra.believes(received)
        connection.answer(200 if known else 401, answers.chat("served") if known else '{"statusCode": 401}')

    return upstream(handle)


@pytest.fixture
def issuer(owned):
    made = issuers.Issuer(issuers.Key("k", "RS256"))
    owned.callback(made.close)
    return made


@pytest.fixture
def serve(owned, tmp_path, entra, certificates):
    def start(name, *replace, env=None):
        identity = {"AZURE_CLIENT_ID": authorities.CLIENT_ID, "AZURE_TENANT_ID": authorities.TENANT,
                    "AZURE_AUTHORITY_HOST": entra.url + "/", "AZURE_FEDERATED_TOKEN_FILE": str(entra.cluster.token_file)}
        if "/etc/postern/tls/" in (FOLDER / name).read_text():
            replace += (("/etc/postern/tls/tls.crt", certificates.certificate), ("/etc/postern/tls/tls.key", certificates.key))
        made = Example(tmp_path, name, replace, {**identity, **(env or {})})
        owned.callback(made.stop)
        return made

    return start


@pytest.fixture
def ask(certificates):
    """ask(GATEWAY, MODEL, NAME=VALUE...) -> status and body of one chat completion, or of `path` when that is given."""
    def one(gateway, model="gpt-4o", path="/v1/chat/completions", body=None, **headers):
        address = ("127.0.0.1", gateway.port)
        connection = (http.client.HTTPSConnection(*address, timeout=TIMEOUT, context=ssl.create_default_context(cafile=certificates.ca))
                      if gateway.secure else http.client.HTTPConnection(*address, timeout=TIMEOUT))
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("POST", path, body or answers.ask(model=model), {"content-type": "application/json", **headers})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, text

    return one


def bearer(token):
    return {"authorization": f"Bearer {token}"}


# ---- all ----


@pytest.mark.parametrize("name", EXAMPLES)
def test_is_good(name):
    done = process.postern("check", "--offline", FOLDER / name)
    assert (done.returncode, done.stderr) == (0, "") and "good" in done.stdout


@pytest.mark.parametrize("name", EXAMPLES)
def test_holds_no_secret_and_is_described(name):
    text = (FOLDER / name).read_text()
    assert text.startswith("# SPDX-License-Identifier: Apache-2.0\n#\n# "), "what it is for comes first"
    assert name in (FOLDER.parent / "README.md").read_text()
    assert "insecure" not in text and "eyJ" not in text


# ---- Entra ID ----


@pytest.fixture
def entra_gateway(serve, resource, issuer):
    return serve("gateway-entra-id.yaml", (V1_KEYS, f"{issuer.server.url}/keys"), (V2, issuer.url), (EAST, resource.url))


def v2(issuer, **more):
    """An access token as Entra issues them when accessTokenAcceptedVersion is 2."""
    return issuer.token(**{"aud": AUDIENCE, "azp": "11111111-aaaa", "azpacr": "2", "oid": "obj", "roles": ["Models.Research"], "tid": TENANT,
                           "ver": "2.0", "uti": "u", "rh": "0.A", **more})


def v1(issuer, **more):
    claims = issuer.claims(**{"iss": V1, "aud": f"api://{AUDIENCE}", "appid": "22222222-bbbb", "appidacr": "2", "oid": "obj",
                              "roles": ["Models.Apps"], "ver": "1.0", "idtyp": "app", **more})
    del claims["azp"]
    return issuer.keys[0].token(claims, x5t="k", typ="JWT")


def test_entra_both_forms(entra_gateway, issuer, ask):
    assert ask(entra_gateway, **bearer(v2(issuer)))[0] == 200
    assert ask(entra_gateway, "gpt-4o-mini", **bearer(v1(issuer)))[0] == 200
    assert [line["consumer"] for line in entra_gateway.access(2)] == ["11111111-aaaa", "22222222-bbbb"]
    # The roles of the second do not reach so far.
    assert ask(entra_gateway, "gpt-4o", **bearer(v1(issuer)))[0] == 404


@pytest.mark.parametrize("wrong", [
    lambda issuer: v2(issuer, aud=f"api://{AUDIENCE}"), lambda issuer: v1(issuer, aud=AUDIENCE),
    lambda issuer: v2(issuer, aud="00000003-0000-0000-c000-000000000000"), lambda issuer: v2(issuer, iss=V2.replace(TENANT, "common")),
    lambda issuer: v1(issuer, iss=V1.replace(TENANT, "another-tenant")), lambda issuer: v2(issuer, exp=1000000000),
    lambda issuer: v2(issuer, azp=["11111111-aaaa"]), lambda issuer: v2(issuer)[:-4] + "AAAA",
    lambda issuer: issuers.Key("k", "RS256").token(issuer.claims(aud=AUDIENCE, roles=["Models.Research"]))],
    ids=["v2 with the audience of v1", "v1 with the audience of v2", "for Microsoft Graph", "common", "another tenant", "expired",
         "a list for a name", "signature cut", "signed by another"])
def test_entra_wrong_tokens(entra_gateway, issuer, resource, ask, wrong):
    status, body = ask(entra_gateway, **bearer(wrong(issuer)))
    assert status == 401 and json.loads(body)["error"]["code"] == "invalid_api_key"
    assert not resource.requests


@pytest.mark.parametrize("roles", [[], ["Models.Other"], None])
def test_entra_without_a_role(entra_gateway, issuer, resource, ask, roles):
    more = {} if roles is None else {"roles": roles}
    token = v2(issuer, **more) if more else issuer.token(aud=AUDIENCE)
    assert ask(entra_gateway, **bearer(token))[0] == 403 and not resource.requests


# ---- service accounts ----


class ClusterIssuer(issuers.Issuer):
    """As AKS publishes it: the issuer ends with a slash, and so does not double it where discovery adds its path."""

    def __init__(self):
        super().__init__(issuers.Key("cluster", "RS256"))
        self.url = f"{self.server.url}/tenant/v2.0/"

    def pod_token(self, namespace="research", name="lab", **more):
        return self.keys[0].token({**self.claims(
            iss=self.url, aud=["postern"], sub=f"system:serviceaccount:{namespace}:{name}", jti="j",
            **{"kubernetes.io": {"namespace": namespace, "node": {"name": "n", "uid": "1"}, "pod": {"name": f"{name}-7d9c", "uid": "2"},
                                 "serviceaccount": {"name": name, "uid": "3"}, "warnafter": 1}}), **more})


@pytest.fixture
def cluster_issuer(owned):
    made = ClusterIssuer()
    owned.callback(made.close)
    return made


@pytest.fixture
def pods_gateway(serve, resource, cluster_issuer):
    return serve("gateway-service-accounts.yaml", (CLUSTER, cluster_issuer.url), (EAST, resource.url))


def test_service_accounts(pods_gateway, cluster_issuer, resource, ask):
    assert ask(pods_gateway, **bearer(cluster_issuer.pod_token()))[0] == 200
    shop = bearer(cluster_issuer.pod_token("pets", "ai-service"))
    assert ask(pods_gateway, "gpt-4o-mini", **shop)[0] == 200 and ask(pods_gateway, "gpt-4o", **shop)[0] == 404
    assert ask(pods_gateway, "gpt-4o-mini", **bearer(cluster_issuer.pod_token("pets", "store-front")))[0] == 403
    assert [line["consumer"] for line in pods_gateway.access(2)[:2]] == ["system:serviceaccount:research:lab",
                                                                      "system:serviceaccount:pets:ai-service"]
    assert len(resource.requests) == 2


@pytest.mark.parametrize("more", [{"aud": ["api://AzureADTokenExchange"]}, {"aud": ["https://kubernetes.default.svc"]}, {"exp": 1000000000},
                                  {"iss": "https://kubernetes.default.svc.cluster.local"}, {"sub": None}, {"nbf": 4000000000}],
                         ids=["for Entra", "for the API server", "expired", "another cluster", "no subject", "from tomorrow"])
def test_service_accounts_wrong_tokens(pods_gateway, cluster_issuer, resource, ask, more):
    assert ask(pods_gateway, **bearer(cluster_issuer.pod_token(**more)))[0] == 401
    assert not resource.requests


def test_sidecar_to_gateway(pods_gateway, serve, cluster_issuer, resource, ask, certificates, tmp_path):
    """Both examples, one behind the other: no key from the application to Azure."""
    token = tmp_path / "sa-token"
    token.write_text(cluster_issuer.pod_token())
    sidecar = serve("sidecar-to-gateway.yaml", ("https://postern.gateway.svc:8443", f"https://127.0.0.1:{pods_gateway.port}"),
                    ("{file: /var/run/secrets/postern/token}", f"{{file: {token}}}"), ("/etc/postern/gateway-ca/ca.crt", certificates.ca))
    assert ask(sidecar, **bearer("unused"))[0] == 200
    assert pods_gateway.access(1)[0]["consumer"] == "system:serviceaccount:research:lab"
    assert len(resource.requests) == 1 and token.read_text() not in resource.requests[0].raw.decode()


# ---- the rest ----


def test_sidecar_keyless(serve, resource, ask):
    made = serve("sidecar-keyless.yaml", (EAST, resource.url), env={"POD_SERVICE_ACCOUNT": "search"})
    assert ask(made, api_key="unused")[0] == 200
    assert ask(made, path="/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21", api_key="unused")[0] == 200
    assert {line["consumer"] for line in made.access(2)} == {"search"}
    assert all(b"unused" not in received.raw for received in resource.requests)


def test_api_keys(serve, resource, ask, tmp_path):
    pepper, keys = tmp_path / "pepper", tmp_path / "keys.yaml"
    pepper.write_text("pepper")
    lab, shop = (new_key(keys, name, "--group", group, pepper=pepper) for name, group in (("lab", "research"), ("shop", "apps")))
    made = serve("gateway-api-keys.yaml", ("/etc/postern/keys/keys.yaml", keys), ("/etc/postern/pepper/pepper", pepper),
                 (EAST, resource.url), (WEST, resource.url))
    assert ask(made, "gpt-4o", api_key=lab)[0] == 200 and ask(made, "o3", **bearer(lab))[0] == 200
    assert ask(made, "gpt-4o-mini", **bearer(shop))[0] == 200 and ask(made, "gpt-4o", **bearer(shop))[0] == 404
    assert ask(made, "gpt-4o")[0] == 401 and ask(made, "gpt-4o", **bearer("pk_no_no"))[0] == 401


def test_observe(serve, upstream, ask):
    server = upstream(lambda received, connection: connection.answer(200, answers.chat("seen")))
    made = serve("observe.yaml", (EAST, server.url))
    target = "/openai/deployments/mine/chat/completions?api-version=2024-12-01-preview"
    assert ask(made, path=target, api_key="the-team-s-own")[0] == 200
    received = server.requests[0]
    assert received.target == target and ("api-key", "the-team-s-own") in [(name.lower(), value) for name, value in received.headers]
    assert "the-team-s-own" not in made.output() + made.access_path.read_text() + made.metrics()


def test_kaito_beside_azure(serve, upstream, resource, ask):
    busy = []

    def kaito(received, connection):
        assert "authorization" not in received.raw.decode().lower()
        connection.answer(503 if busy else 200, answers.error("loading") if busy else answers.chat("phi"))

    server = upstream(kaito)
    made = serve("kaito-beside-azure.yaml", ("http://workspace-phi-4-mini.default.svc", server.url), (EAST, resource.url))
    assert b"phi" in ask(made, "phi-4-mini-instruct")[1] and b"served" in ask(made, "gpt-4o-mini")[1]
    assert b"phi" in ask(made, "assistant")[1]
    busy.append(True)
    status, body = ask(made, "assistant")
    assert status == 200 and b"served" in body
    assert json.loads(server.requests[-1].body)["model"] == "phi-4-mini-instruct"
    assert json.loads(resource.requests[-1].body)["model"] == "gpt-4o-mini"
