# SPDX-License-Identifier: Apache-2.0
"""
Tokens of a certified issuer, npm's oidc-provider, found by discovery, with its keys rotating while requests pass. It takes keys at
construction only, so node/oidc.mjs puts a new provider with the next key set behind the same address; all it answers is the library's.
"""
import asyncio
import base64
import collections
import http.client
import json
import os
import pathlib
import re
import shutil
import subprocess
import time

import pytest
from harness.wire import TIMEOUT

SCRIPT = pathlib.Path(__file__).parent / "node" / "oidc.mjs"
NODE_NEEDED = 20
FLOOR = 1.0  # seconds; the least that `floor` can be
ROTATIONS, REQUESTS, CLIENTS = 50, 10_000, 8
FORM = "grant_type=client_credentials&resource=urn:postern&scope=models"
BASIC = "Basic " + base64.b64encode(b"test:test").decode()


def node_version():
    if not shutil.which("node"):
        return 0
    return int(re.match(r"v(\d+)", subprocess.run(["node", "--version"], capture_output=True, text=True).stdout).group(1))


class Provider:
    """node/oidc.mjs as a child; `url` is the issuer."""

    def __init__(self, algorithm):
        self.child = subprocess.Popen(["node", str(SCRIPT), algorithm], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                      text=True, env={**os.environ, "NODE_NO_WARNINGS": "1"})
        self.url = self.line()
        self.port = int(self.url.rsplit(":", 1)[1])

    def line(self):
        """The next line that is no notice of the library's."""
        for line in self.child.stdout:
            if line.strip() and not line.startswith("oidc-provider"):
                return line.strip()
        raise AssertionError(f"the provider ended: {self.child.stderr.read()}")

    def order(self, text):
        self.child.stdin.write(text + "\n")
        self.child.stdin.flush()
        return self.line()

    def token(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
        connection.request("POST", "/token", FORM, {"authorization": BASIC, "content-type": "application/x-www-form-urlencoded"})
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return answer["access_token"]

    def close(self):
        self.child.stdin.close()
        self.child.wait(TIMEOUT)
        self.child.stdout.close()
        self.child.stderr.close()


@pytest.fixture
def provider(owned):
    def start(algorithm="ES256"):
        if node_version() < NODE_NEEDED:
            pytest.skip(f"oidc-provider needs Node {NODE_NEEDED} or newer on PATH")
        made = Provider(algorithm)
        owned.callback(made.close)
        return made

    return start


@pytest.fixture
def guarded(gateway):
    def start(issuer, **more):
        method = {"jwt": {"issuer": issuer.url, "audience": ["urn:postern"], "consumer_claim": "client_id", "floor": f"{FLOOR:.0f}s", **more}}
        return gateway(filters={"authenticate": {"methods": [method]}}, listener={"filters": ["authenticate"]},
                       targets=[{"name": "m", "mock": {}}], models=[{"name": "*", "targets": ["m"]}])

    return start


def ask(gateway, token):
    with gateway.client() as client:
        return client.ask("GET", "/v1/models", b"", [("authorization", f"Bearer {token}")]).status


def signed_by(token):
    return json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "==="))


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
def test_tokens_by_discovery(provider, guarded, algorithm):
    issuer = provider(algorithm)
    made = guarded(issuer)
    token = issuer.token()
    assert signed_by(token)["alg"] == algorithm and signed_by(token)["typ"] == "at+jwt"
    assert [ask(made, token) for _ in range(3)] == [200] * 3
    assert made.access(1)[0]["consumer"] == "test"
    assert ask(made, token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB")) == 401
    assert issuer.order("count") == "1"


def test_keys_that_come_late_or_not_at_all(provider, guarded):
    """Who shows a new key waits for the slow issuer; while it fails, known keys serve, past the time of their refresh as well."""
    issuer = provider()
    made = guarded(issuer, refresh="10s", wait="20s")
    issuer.order("hold 700")
    old = issuer.token()
    assert ask(made, old) == 200
    issuer.order("hold 0")
    issuer.order("fail 503")
    asked = int(issuer.order("count"))
    made.wait_until(lambda: int(issuer.order("count")) > asked)
    for _ in range(3):
        assert ask(made, issuer.token()) == 200, "a token not seen before, of a key known before"
    issuer.order("rotate")
    fresh = issuer.token()
    issuer.order("fail 0")
    issuer.order("hold 700")
    made.wait_until(lambda: ask(made, fresh) == 200)
    assert ask(made, old) == 200


# ---- under load ----


class Connection:
    """A connection that is kept, for one request at a time."""

    def __init__(self, port):
        self.port, self.reader, self.writer = port, None, None

    async def ask(self, method, path, body="", **headers):
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        lines = [f"{method} {path} HTTP/1.1", "host: x", f"content-length: {len(body)}",
                 *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        text = await self.reader.readexactly(int(re.search(r"\ncontent-length: (\d+)", head).group(1)))
        if "\nconnection: close" in head:
            self.close()
        return int(head.split(" ", 2)[1]), text

    def close(self):
        if self.writer:
            self.writer.close()
            self.writer = None


class Load:
    """CLIENTS callers that make as many requests as they are allowed, each with a token one rotation old at most."""

    def __init__(self, gateway, issuer):
        self.gateway, self.issuer = gateway, issuer
        self.rotation, self.allowed, self.begun, self.fresh_at = 0, 0, 0, None
        self.statuses, self.keys = collections.Counter(), set()
        self.changed = asyncio.Condition()

    async def caller(self):
        to_issuer, to_gateway = Connection(self.issuer.port), Connection(self.gateway.port)
        token, since = None, -2
        while await self.turn():
            if self.rotation - since > 1 or (self.begun % 2 and self.rotation != since):
                since = self.rotation
                _, text = await to_issuer.ask("POST", "/token", FORM, authorization=BASIC, content_type="application/x-www-form-urlencoded")
                token = json.loads(text)["access_token"]
                self.keys.add(signed_by(token)["kid"])
            status, _ = await to_gateway.ask("GET", "/v1/models", authorization=f"Bearer {token}")
            async with self.changed:
                self.statuses[status] += 1
                if since == self.rotation and self.fresh_at is None:
                    self.fresh_at = time.monotonic()
                self.changed.notify_all()
        to_issuer.close()
        to_gateway.close()

    async def turn(self):
        """Waits for leave to ask once more; False when all requests are begun."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.begun < self.allowed or self.begun == REQUESTS)
            more = self.begun < REQUESTS
            self.begun += more
            return more

    async def allow(self, count):
        async with self.changed:
            self.allowed += count
            self.changed.notify_all()

    async def rotate(self):
        """Half of a rotation's requests are under way when the key changes."""
        share = REQUESTS // ROTATIONS
        await self.allow(share // 2)
        await asyncio.to_thread(self.issuer.order, "rotate")
        async with self.changed:
            self.rotation, self.fresh_at = self.rotation + 1, None
        await self.allow(share - share // 2)
        async with self.changed:
            await self.changed.wait_for(lambda: self.statuses.total() >= self.allowed)
        # Keys that change faster than `floor` lets anybody ask for them cannot be followed.
        await asyncio.sleep(max(0, (self.fresh_at or time.monotonic()) + FLOOR * 1.1 - time.monotonic()))


def test_fifty_rotations_under_load(provider, guarded):
    """Each rotation has its tokens accepted at once, by one question for keys; the key before serves on."""
    issuer = provider()
    made = guarded(issuer, refresh="1h")

    async def run():
        load = Load(made, issuer)
        callers = [asyncio.create_task(load.caller()) for _ in range(CLIENTS)]
        for _ in range(ROTATIONS):
            await load.rotate()
        await asyncio.gather(*callers)
        return load

    load = asyncio.run(asyncio.wait_for(run(), 90))
    assert load.statuses == {200: REQUESTS}
    assert len(load.keys) > ROTATIONS * 0.9
    assert len(load.keys) - 1 <= int(issuer.order("count")) <= ROTATIONS + 1
