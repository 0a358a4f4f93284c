# SPDX-License-Identifier: Apache-2.0
"""pytest fixtures: factories whose products are ended, and judged, when the test is over."""
import contextlib
import os
import pathlib

import pytest

from . import process, upstream as upstreams


def pytest_configure(config):
    config.addinivalue_line("markers", "workers: runs with several workers; repeated under ThreadSanitizer")


@pytest.fixture
def owned():
    """Ends everything entered into it, newest first."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def upstream(owned):
    """upstream(handler): a scripted upstream."""
    def start(handler, **options):
        server = upstreams.Upstream(handler, **options)
        owned.callback(server.close)
        return server

    return start


@pytest.fixture
def mock(owned):
    """mock(*options): `postern mock`."""
    def start(*options):
        child = process.Mock(*options)
        owned.callback(child.stop)
        return child

    return start


def target(name, url, **more):
    """An OpenAI-speaking target with a credential that must never be written anywhere."""
    return {"name": name, "openai": {"url": f"{url}/v1"}, "credential": {"api_key": {"env": "TARGET_KEY"}}, **more}


def model(name, *targets):
    """A model whose targets are tried in the order given."""
    return {"name": name, "targets": [{"target": one, "priority": place + 1} for place, one in enumerate(targets)]}


@pytest.fixture
def gateway(owned, tmp_path):
    """
    gateway(UPSTREAM, ...): Postern with one target per upstream (first, second, third), tried in that order for every
    model name. Configuration in keywords replaces or adds to that; `edit` gets the targets before they are written.
    """
    def start(*servers, edit=None, env=None, mount=None, **config):
        names = ("first", "second", "third")[: len(servers)]
        made = {}
        if servers:
            targets = [target(name, server.url) for name, server in zip(names, servers)]
            if edit:
                edit(targets)
            made = {"targets": targets, "models": [model("*", *names)]}
        child = process.Gateway(tmp_path, {**made, **config}, {"TARGET_KEY": process.CANARY_TARGET_KEY, **(env or {})},
                                mount)
        owned.callback(child.stop)
        return child

    return start


@pytest.fixture(scope="session")
def go_program():
    """go_program(NAME): the path of a Go program the runner made, or the test is skipped."""
    def find(name):
        path = pathlib.Path(os.environ["POSTERN_GO"]) / name
        if not path.exists():
            pytest.skip(f"{name} is not built: it needs Go 1.24 or newer on PATH")
        return path

    return find


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """A certificate authority and a certificate for localhost and 127.0.0.1, as paths: ca, certificate, key."""
    from . import certificates as making
    return making.make(tmp_path_factory.mktemp("tls"))
