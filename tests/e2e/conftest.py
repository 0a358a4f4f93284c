# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the end-to-end tests beside those of harness.plugin."""
import contextlib

import pytest
from harness import process

API_VERSION = "2024-10-21"
# Model name that clients ask for -> the dialect its target speaks.
DIALECTS = ("openai-model", "azure-v1-model", "azure-dated-model")
# Models whose target answers with an error: "status-429" and so on.
STATUSES = (400, 401, 403, 404, 409, 422, 429, 500, 503)
MODELS = (*DIALECTS, *(f"status-{status}" for status in STATUSES))


def dialects(url, credential=None):
    """Targets and models of a configuration: the API at `url` in three dialects and failing in every way, each by a model name."""
    key = {"credential": credential or {"api_key": {"env": "TARGET_KEY"}}}
    targets = [
        {"name": "openai", "openai": {"url": f"{url}/v1"}, **key},
        {"name": "azure-v1", "azure": {"endpoint": url, "api": "v1"}, **key},
        {"name": "azure-dated", "azure": {"endpoint": url, "api": API_VERSION}, **key},
    ]
    # The mock model is steered by a field that each of these targets adds.
    targets += [{"name": f"fails-{status}", "openai": {"url": f"{url}/v1"}, "headers": {"set": {"x-mock-status": str(status)}},
                 **(key if credential else {})} for status in STATUSES]
    models = [{"name": name, "targets": [{"target": target["name"], "deployment": f"deployed-{target['name']}"}]}
              for name, target in zip(MODELS, targets)]
    return {"targets": targets, "models": models}


@pytest.fixture(scope="module")
def every_dialect(tmp_path_factory):
    """
    A gateway before the mock model in three dialects, one model name for each. One for a whole file: what one test leaves behind
    must not matter to the next.
    """
    with contextlib.ExitStack() as stack:
        server = process.Mock()
        stack.callback(server.stop)
        made = process.Gateway(tmp_path_factory.mktemp("dialects"), dialects(server.url), {"TARGET_KEY": process.CANARY_TARGET_KEY})
        stack.callback(made.stop)
        yield made
