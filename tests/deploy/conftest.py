# SPDX-License-Identifier: Apache-2.0
"""Programs that the tests of charts and manifests call."""
import pytest


@pytest.fixture(scope="session")
def helm(go_program):
    return go_program("helm")


@pytest.fixture(scope="session")
def kustomize(go_program):
    return go_program("kustomize")
