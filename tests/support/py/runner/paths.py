# SPDX-License-Identifier: Apache-2.0
"""Where things lie. Nothing is written outside build*/ and .cache/."""
import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[4]
TESTS = ROOT / "tests"
CACHE = ROOT / ".cache"
BUILD_ADDRESS = ROOT / "build-address"
BUILD_THREAD = ROOT / "build-thread"
BUILD_FUZZ = ROOT / "build-fuzz"
RESULTS = CACHE / "results"
VENV = CACHE / "venv"
NODE = CACHE / "node"
GO = CACHE / "go"
JOBS = os.cpu_count() or 1

# A finding of a sanitizer ends the program with a code of its own, so that no test mistakes it for an expected failure.
SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1:exitcode=99",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:exitcode=99",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1:exitcode=99",
}


def environment(**more):
    return {**os.environ, **SANITIZERS, **{k: str(v) for k, v in more.items()}}
