# SPDX-License-Identifier: Apache-2.0
"""The way to a target: through a CONNECT proxy, past it, and names that lead nowhere."""
import json
import ssl

import pytest
from harness import answers, certificates as making
from harness.connect_proxy import ConnectProxy

CHAT = "/v1/chat/completions"
NAME = "model.test"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return making.make(tmp_path_factory.mktemp("egress"), names=f"DNS:{NAME},DNS:localhost,IP:127.0.0.1")


@pytest.fixture
def server(upstream, files):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    return upstream(lambda received, connection: connection.answer(200, answers.chat()), tls=context)


@pytest.fixture
def proxy(server, owned):
    made = ConnectProxy({f"{NAME}:443": server.port})
    owned.callback(made.close)
    return made


@pytest.fixture
def through(gateway, server, files):
    """through(url, ...): a gateway whose first target is at that URL; `env`, `more` upstreams, settings of the `target`, configuration."""
    def start(url, env=None, more=(), target=None, **config):
        def edit(targets):
            targets[0]["openai"]["url"] = url
            targets[0]["tls"] = {"ca": str(files.ca)}
            targets[0].update(target or {})

        config.setdefault("dns", {"timeout": "1s"})
        unset = {"HTTPS_PROXY": "", "https_proxy": "", "NO_PROXY": "", "no_proxy": ""}
        return gateway(server, *more, edit=edit, env={**unset, **(env or {})}, **config)

    return start


def ask(running):
    with running.client() as client:
        return client.ask("POST", CHAT, answers.ask())


def code(answer):
    return json.loads(answer.body)["error"]["code"]


def test_environment(through, proxy, server):
    """The name is the proxy's to resolve; TLS is end to end; the tunnel is kept for the next request."""
    running = through(f"https://{NAME}/v1", env={"HTTPS_PROXY": f"http://{proxy.address}"})
    assert ask(running).status == ask(running).status == 200
    assert [head.target for head in proxy.asked] == [f"{NAME}:443"]
    assert proxy.asked[0].get("host") == f"{NAME}:443" and len(server.requests) == 2
    assert "authorization" not in proxy.asked[0].names()


def test_configuration(through, proxy):
    assert ask(through(f"https://{NAME}/v1", egress={"proxy": "url", "url": f"http://{proxy.address}"})).status == 200
    assert len(proxy.asked) == 1


def test_proxy_credentials(through, proxy):
    assert ask(through(f"https://{NAME}/v1", env={"HTTPS_PROXY": f"http://user:p%40ss@{proxy.address}"})).status == 200
    assert proxy.asked[0].get("proxy-authorization") == "Basic dXNlcjpwQHNz"


@pytest.mark.parametrize("env, config", [
    ({"NO_PROXY": NAME}, {}), ({"NO_PROXY": ".test"}, {}), ({"NO_PROXY": "*"}, {}), ({"no_proxy": f"a.b,{NAME}:443"}, {}),
    ({}, {"egress": {"no_proxy": [".test"]}}), ({}, {"egress": {"proxy": "none"}}), ({}, {"target": {"proxy": "none"}})])
def test_exceptions(through, proxy, env, config):
    """Where no proxy is to be used the name is looked up here, and is not found."""
    running = through(f"https://{NAME}/v1", env={"HTTPS_PROXY": f"http://{proxy.address}", **env}, **config)
    assert code(ask(running)) == "upstream_resolve_failed"
    assert not proxy.asked


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_never(through, proxy, server, host):
    running = through(f"https://{host}:{server.port}/v1", env={"HTTPS_PROXY": f"http://{proxy.address}"})
    assert ask(running).status == 200 and not proxy.asked


@pytest.mark.parametrize("refusal", [403, 407, 502])
def test_proxy_refuses(through, proxy, refusal):
    proxy.routes, proxy.refusal = {}, refusal
    running = through(f"https://{NAME}/v1", env={"HTTPS_PROXY": f"http://{proxy.address}"})
    answer = ask(running)
    assert answer.status == 502 and code(answer) == "upstream_connect_failed"
    assert str(refusal) in running.access(1)[0]["attempts"][0]["detail"]


def test_name_that_leads_nowhere(through, upstream):
    running = through("https://nowhere.invalid/v1")
    answer = ask(running)
    assert answer.status == 502 and code(answer) == "upstream_resolve_failed"
    assert "nowhere.invalid" in json.dumps(running.access(1)) or running.access(1)[0]["attempts"][0]["detail"]


def test_next_target_when_a_name_leads_nowhere(through, upstream):
    second = upstream(lambda received, connection: connection.answer(200, answers.chat()))
    running = through("https://nowhere.invalid/v1", more=[second])
    assert ask(running).status == 200 and len(second.requests) == 1
    assert [one.get("fault") for one in running.access(1)[0]["attempts"]] == ["UPSTREAM_RESOLVE", None]
