# SPDX-License-Identifier: Apache-2.0
"""
The official SDKs through a gateway that wants to know who calls, with each credential an application can have, and through one that
opens its targets without any key. What the SDKs then do are the tests of test_sdk_python, collected here once more.
"""
import contextlib
import ssl
import socket
import types

import openai
import pytest
from conftest import API_VERSION, DIALECTS, MODELS, dialects
from harness import authority as authorities, issuer as issuers, process
from harness.process import CANARY_TARGET_KEY
from harness.wire import TIMEOUT
from test_authenticate import client_certificate, new_key
from test_sdk_node import node
# Collected here too, with the fixture `client` below; `model` is theirs.
from test_sdk_python import (SAY, model, test_chat, test_chat_stream, test_chat_with_tools,  # noqa: F401 pylint: disable=unused-import
                             test_embeddings, test_errors, test_models, test_responses_stream, test_unknown_model)

SPIFFE = "spiffe://cluster/ns/apps/sa/search"
NODE_CASES = ("chat", "tools", "stream", "embeddings", "responsesStream", "models", "badRequest", "credentialRefused", "unknownModel")


def plain(url, key, **more):
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, **more)


def azure(url, **credential):
    return openai.AzureOpenAI(azure_endpoint=url, api_version=API_VERSION, max_retries=0, **credential)


class Entries:
    """What the ways in need: each method gives the authentication method, the listener's settings, the consumer and the clients."""

    def __init__(self, stack, folder, certificates):
        self.stack, self.folder, self.certificates = stack, folder, certificates

    def keys(self):
        file = self.folder / "keys.yaml"
        key = new_key(file, "search")
        return types.SimpleNamespace(
            method={"api_keys": {"file": str(file)}}, listener={}, consumer="search", scheme="http", secret=key,
            clients={"OpenAI": lambda url: plain(url, key), "AzureOpenAI": lambda url: azure(url, api_key=key)},
            stranger=lambda url: plain(url, key[:-3] + "xyz"))

    def token(self):
        server = issuers.Issuer(issuers.Key("k", "RS256"))
        self.stack.callback(server.close)
        token = server.token()
        return types.SimpleNamespace(
            method={"jwt": {"issuer": server.url, "audience": [issuers.AUDIENCE], "consumer_claim": "azp"}}, listener={},
            consumer="app-one", scheme="http", secret=token,
            clients={"OpenAI": lambda url: plain(url, token), "AzureOpenAI": lambda url: azure(url, azure_ad_token=token),
                     "AzureOpenAI with a provider": lambda url: azure(url, azure_ad_token_provider=lambda: token)},
            stranger=lambda url: azure(url, azure_ad_token=server.token(aud="them")))

    def certificate(self):
        files = self.certificates
        pair = client_certificate(self.folder, files, "search", f"URI:{SPIFFE}")

        def secure(url, with_certificate=True):
            context = ssl.create_default_context(cafile=files.ca)
            if with_certificate:
                context.load_cert_chain(*pair)
            return plain(url, "not-looked-at", http_client=openai.DefaultHttpxClient(verify=context))

        tls = {"certificate": str(files.certificate), "key": str(files.key), "client_ca": str(files.ca)}
        return types.SimpleNamespace(
            method={"client_certificate": {"consumer": "san_uri", "match": ["spiffe://cluster/ns/apps/*"]}}, listener={"tls": tls},
            consumer=SPIFFE, scheme="https", secret="not-looked-at", clients={"OpenAI": secure},
            stranger=lambda url: secure(url, with_certificate=False))


WAYS = [("keys", "OpenAI"), ("keys", "AzureOpenAI"), ("token", "OpenAI"), ("token", "AzureOpenAI"), ("token", "AzureOpenAI with a provider"),
        ("certificate", "OpenAI"), ("keyless", "OpenAI"), ("keyless", "AzureOpenAI")]


@pytest.fixture(scope="module")
def entrances(tmp_path_factory, certificates):
    """entrances(KIND): a gateway before the mock model that lets in by that kind, made once."""
    made = {}
    with contextlib.ExitStack() as stack:
        def of(kind):
            if kind not in made:
                made[kind] = (keyless if kind == "keyless" else guarded)(stack, tmp_path_factory.mktemp(kind), certificates, kind)
            return made[kind]

        yield of


def guarded(stack, folder, certificates, kind):
    entry = getattr(Entries(stack, folder, certificates), kind)()
    server = process.Mock()
    stack.callback(server.stop)
    config = {**dialects(server.url), "filters": {"authenticate": {"methods": [entry.method]}},
              "listener": {"filters": ["authenticate"], **entry.listener}}
    entry.gateway = process.Gateway(folder, config, {"TARGET_KEY": CANARY_TARGET_KEY})
    stack.callback(entry.gateway.stop)
    entry.url = f"{entry.scheme}://127.0.0.1:{entry.gateway.port}"
    return entry


def checked(authority, port):
    """A handler that shows the mock model on `port` to those who have a token of the authority's, and nothing to anybody else."""
    def handle(received, connection):
        if not authority.believes(received):
            connection.answer(401, '{"statusCode": 401, "message": "Unauthorized."}')
            return
        start, rest = received.raw.split(b"\r\n", 1)
        with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as behind:
            behind.sendall(start + b"\r\nconnection: close\r\n" + rest)
            while data := behind.recv(65536):
                connection.send(data)
        connection.close()

    return handle


def keyless(stack, folder, _certificates, _kind):
    """No key anywhere: the pod's own token opens the authority, and its token the targets."""
    cluster = authorities.Cluster(folder / "token")
    authority = authorities.Authority(cluster=cluster)
    stack.callback(authority.close)
    server = process.Mock()
    stack.callback(server.stop)
    door = authorities.upstreams.Upstream(checked(authority, server.port))
    stack.callback(door.close)
    config = {**dialects(door.url, "entra"), "credentials": [{"name": "entra", "workload_identity": {}}],
              "filters": {"authenticate": {"methods": [{"peer": {"name": "store"}}]}}, "listener": {"filters": ["authenticate"]}}
    gateway = process.Gateway(folder, config, {
        "AZURE_CLIENT_ID": authorities.CLIENT_ID, "AZURE_TENANT_ID": authorities.TENANT, "AZURE_AUTHORITY_HOST": authority.url + "/",
        "AZURE_FEDERATED_TOKEN_FILE": str(cluster.token_file)})
    stack.callback(gateway.stop)
    return types.SimpleNamespace(
        gateway=gateway, url=gateway.base_url, consumer="store", secret="any", authority=authority, door=door, stranger=None,
        clients={"OpenAI": lambda url: plain(url, "any"), "AzureOpenAI": lambda url: azure(url, api_key="any")})


@pytest.fixture(params=WAYS, ids=[f"{kind}, {name}" for kind, name in WAYS])
def way(request, entrances):
    kind, name = request.param
    entry = entrances(kind)
    return types.SimpleNamespace(entry=entry, open=lambda: entry.clients[name](entry.url))


@pytest.fixture
def client(way):
    with way.open() as made:
        yield made


def test_who_called(way, client):
    """The log names the caller, and what it came with stands nowhere."""
    gateway = way.entry.gateway
    before = len(gateway.access_path.read_text().splitlines()) if gateway.access_path.exists() else 0
    client.chat.completions.create(model=DIALECTS[0], messages=SAY)
    assert {line.get("consumer") for line in gateway.access(before + 1)[before:]} == {way.entry.consumer}
    if len(way.entry.secret) > 20:
        assert way.entry.secret not in gateway.output() + gateway.access_path.read_text() + gateway.metrics()


@pytest.mark.parametrize("kind", ["keys", "token", "certificate"])
def test_strangers_get_an_error_the_sdk_knows(entrances, kind):
    entry = entrances(kind)
    with entry.stranger(entry.url) as client:
        with pytest.raises(openai.AuthenticationError) as raised:
            client.chat.completions.create(model=DIALECTS[0], messages=SAY)
    assert raised.value.code == "invalid_api_key" and raised.value.request_id


def test_keyless_asks_for_one_token(entrances):
    entry = entrances("keyless")
    with entry.clients["OpenAI"](entry.url) as client:
        for _ in range(3):
            client.chat.completions.create(model=DIALECTS[1], messages=SAY)
    assert len(entry.authority.asked) == 1
    assert all(entry.authority.believes(received) for received in entry.door.requests)


@pytest.mark.parametrize("case", NODE_CASES)
@pytest.mark.parametrize("name", ["OpenAI", "AzureOpenAI"])
@pytest.mark.parametrize("kind", ["keys", "token", "keyless"])
def test_node_sdk(entrances, kind, name, case):
    entry = entrances(kind)
    given = {"POSTERN_TOKEN" if kind == "token" else "POSTERN_KEY": entry.secret}
    done = node(name, case, POSTERN_URL=entry.url, POSTERN_MODELS=",".join(DIALECTS), POSTERN_LISTED=",".join(MODELS), **given)
    assert done.returncode == 0, done.stderr
