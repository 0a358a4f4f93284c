# SPDX-License-Identifier: Apache-2.0
"""The command line: exit codes 0, 1 (refused, with reasons) and 2 (usage), help that teaches, and no mock by accident."""
import json
import os
import socket

import pytest
from harness import answers, process, wire
from harness.process import postern

GOOD = {
    "apiVersion": "postern/v1",
    "listeners": [{"address": "127.0.0.1:4610"}],
    "targets": [{"name": "east", "azure": {"endpoint": "https://contoso-east.openai.azure.com", "api": "v1"},
                 "credential": {"api_key": {"env": "TARGET_KEY"}}}],
    "models": [{"name": "gpt-4o", "targets": [{"target": "east", "deployment": "gpt-4o-ptu"}]}],
}
ENVIRONMENT = {**os.environ, "TARGET_KEY": "k"}


@pytest.fixture
def config(tmp_path):
    def write(change=None):
        whole = json.loads(json.dumps(GOOD))
        if change:
            change(whole)
        path = tmp_path / "postern.yaml"
        path.write_text(json.dumps(whole, indent=1))
        return path

    return write


def test_version():
    done = postern("version")
    assert done.returncode == 0 and done.stdout.strip()


def test_help_names_every_command():
    done = postern("--help")
    assert done.returncode == 0
    for command in ("run", "demo", "check", "explain", "simulate", "mock", "version"):
        assert command in done.stdout


@pytest.mark.parametrize("arguments", [(), ("nonsense",), ("run", "--nonsense"), ("run",), ("mock", "--port", "x"), ("check",)])
def test_usage(arguments):
    done = postern(*arguments)
    assert done.returncode == 2 and done.stderr


def test_check_accepts(config):
    done = postern("check", config(), env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr


def test_check_says_everything_at_once(config):
    def break_it(whole):
        whole["targets"][0]["crendential"] = {}
        whole["models"][0]["targets"][0]["target"] = "eest"
        whole["listeners"][0]["address"] = "nowhere"

    path = config(break_it)
    done = postern("check", path, env=ENVIRONMENT)
    assert done.returncode == 1
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith(str(path) + ":")]
    assert len(lines) >= 3 and any("credential" in line for line in lines) and any("east" in line for line in lines)


def test_missing_secret_is_an_error(config):
    environment = {name: value for name, value in os.environ.items() if name != "TARGET_KEY"}
    assert postern("check", config(), env=environment).returncode == 1
    assert postern("check", "--offline", config(), env=environment).returncode == 0


@pytest.mark.parametrize("filters", [
    {"known": {"type": "authenticate", "methods": [{"api_keys": {"file": "PATH"}}]}},
    {"kept": {"type": "cache", "store": "shared", "rules": [{"operations": ["embeddings"]}], "seal": {"keys": {"file": "PATH"}}}},
], ids=["keys", "seal"])
def test_offline_opens_no_file(config, tmp_path, filters):
    """An injector checks texts of others so: what its own files hold is not theirs to learn, and a pipe would hold it for ever."""
    secret, pipe = tmp_path / "secret", tmp_path / "pipe"
    secret.write_text('{"canary-of-a-file": 1}\n')
    os.mkfifo(pipe)

    def naming(path):
        def edit(whole):
            if "kept" in filters:
                whole["stores"] = [{"name": "shared", "redis": {"url": "redis://127.0.0.1:1"}}]
            whole["filters"] = json.loads(json.dumps(filters).replace("PATH", str(path)))
            whole["listeners"][0]["filters"] = list(filters)
        return config(edit)

    for path in (secret, pipe):
        done = postern("check", "--offline", naming(path), env=ENVIRONMENT)
        assert done.returncode == 0, done.stderr
        done = postern("check", naming(path), env=ENVIRONMENT)
        assert done.returncode == 1 and str(tmp_path) in done.stdout + done.stderr, done


def test_open_listener_needs_a_word(config):
    """Not loopback and nobody authenticates: that must be meant."""
    path = config(lambda whole: whole["listeners"][0].update(address="0.0.0.0:4610"))
    assert postern("check", "--offline", path).returncode == 1
    path = config(lambda whole: whole["listeners"][0].update(address="0.0.0.0:4610", anonymous=True))
    assert postern("check", "--offline", path).returncode == 0


def test_run_without_configuration_is_an_error(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert postern("run", "--config", empty).returncode == 1
    assert postern("run", "--config", tmp_path / "missing").returncode == 1


def test_explain():
    done = postern("explain", "listeners.address")
    assert done.returncode == 0 and "address" in done.stdout
    assert postern("explain").returncode == 0
    assert postern("explain", "listeners.adress").returncode == 1


def test_simulate(config, tmp_path):
    request = tmp_path / "request.http"
    request.write_bytes(wire.request("POST", "/v1/chat/completions", answers.ask()))
    done = postern("simulate", config(), request, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    for word in ("gpt-4o", "east", "gpt-4o-ptu", "chat"):
        assert word in done.stdout


def test_directory_is_merged(tmp_path, config):
    whole = json.loads(json.dumps(GOOD))
    folder = tmp_path / "mounted"
    folder.mkdir()
    (folder / "a.yaml").write_text(json.dumps({key: whole[key] for key in ("apiVersion", "listeners")}))
    (folder / "b.yaml").write_text(json.dumps({key: whole[key] for key in ("targets", "models")}))
    assert postern("check", folder, env=ENVIRONMENT).returncode == 0


def test_demo(owned):
    """Works at once, and its banner has the one line to try."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 4610)) == 0:
            pytest.skip("port 4610 is taken on this machine")
    child = process.Process([process.binary(), "demo"])
    owned.callback(child.stop)
    child.wait_line("4610")

    def answered():
        try:
            with wire.Client(4610) as client:
                return client.ask("POST", "/v1/chat/completions", answers.ask(model="any-name")).status == 200
        except OSError:
            return False

    child.wait_until(answered)
    assert "curl" in child.output() and "4611" in child.output()
