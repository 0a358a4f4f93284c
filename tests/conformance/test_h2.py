# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 as suites that others wrote see it: h2spec and h2load, with prior knowledge and over TLS."""
import re
import shutil
import subprocess

import pytest
from harness import answers
from harness.wire import TIMEOUT

SUMMARY = re.compile(r"(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed")
# By section: the cases of the commit that the runner asks for, and of the release it falls back to.
CASES = {"generic": {44}, "http2": {95}, "hpack": {7, 8}}
SUITE_TIMEOUT = 300


@pytest.fixture(params=["h2c", "tls"])
def served(request, gateway, upstream, certificates):
    """A gateway that answers GET / and POST / with 200 and a body, as h2spec wants; and the options that reach it."""
    server = upstream(lambda received, connection: connection.answer(200, "a body larger than the smallest window", content_type="text/plain"))
    more = {}
    if request.param == "tls":
        more = {"tls": {"certificate": str(certificates.certificate), "key": str(certificates.key)}}
    running = gateway(targets=[{"name": "page", "openai": {"url": server.url}}], passthrough=[{"path": "/", "target": "page"}],
                      listener=more)
    running.tls = request.param == "tls"
    return running


@pytest.mark.parametrize("section", ["generic", "http2", "hpack"])
def test_h2spec(go_program, served, section):
    command = [go_program("h2spec"), "-h", "127.0.0.1", "-p", served.port, "-S", "-o", "3", *(["-t", "-k"] if served.tls else []), section]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=SUITE_TIMEOUT)
    print(done.stdout)
    tests, passed, skipped, failed = map(int, SUMMARY.search(done.stdout).groups())
    assert (passed, skipped, failed) == (tests, 0, 0) and tests in CASES[section]


def test_h2load(served):
    if not shutil.which("h2load"):
        pytest.skip("h2load is not here")
    scheme = "https" if served.tls else "http"
    command = ["h2load", "-n", "2000", "-c", "8", "-m", "16", f"{scheme}://127.0.0.1:{served.port}/"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=4 * TIMEOUT)
    assert "2000 succeeded, 0 failed, 0 errored" in done.stdout, done.stdout


def test_h2load_posts_chat(gateway, upstream, tmp_path):
    if not shutil.which("h2load"):
        pytest.skip("h2load is not here")
    body = tmp_path / "body.json"
    body.write_text(answers.ask(text="x" * 2000))
    running = gateway(upstream(lambda received, connection: connection.answer(200, answers.chat())))
    done = subprocess.run(["h2load", "-n", "500", "-c", "4", "-m", "8", "-d", str(body), "-H", "content-type: application/json",
                           f"{running.base_url}/v1/chat/completions"], capture_output=True, text=True, timeout=4 * TIMEOUT)
    assert "status codes: 500 2xx" in done.stdout, done.stdout
