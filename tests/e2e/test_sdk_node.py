# SPDX-License-Identifier: Apache-2.0
"""The official Node SDK: one test per case of node/sdk.mjs, client class and upstream dialect."""
import os
import pathlib
import shutil
import subprocess

import pytest
from conftest import DIALECTS, MODELS
from harness.process import CANARY_CLIENT_KEY
from harness.wire import TIMEOUT

SCRIPT = pathlib.Path(__file__).parent / "node" / "sdk.mjs"
CLIENTS = ("OpenAI", "AzureOpenAI", "AzureOpenAI by environment")
CASES = ("chat", "tools", "structured", "stream", "streamWithUsage", "embeddings", "responses", "responsesStream", "transcription",
         "image", "models", "badRequest", "notFound", "rateLimit", "serverError", "credentialRefused", "unknownModel")


def node(*arguments, **environment):
    if not shutil.which("node"):
        pytest.skip("node is not here")
    return subprocess.run(["node", str(SCRIPT), *arguments], env={**os.environ, **environment}, capture_output=True, text=True,
                          timeout=TIMEOUT)


def test_every_case_is_listed():
    assert tuple(node().stdout.split()) == CASES


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", CLIENTS)
def test_node_sdk(every_dialect, kind, case):
    done = node(kind, case, POSTERN_URL=every_dialect.base_url, POSTERN_MODELS=",".join(DIALECTS),
                POSTERN_LISTED=",".join(MODELS), POSTERN_KEY=CANARY_CLIENT_KEY)
    assert done.returncode == 0, done.stderr
