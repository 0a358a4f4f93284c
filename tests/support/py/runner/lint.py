# SPDX-License-Identifier: Apache-2.0
"""Runs tests/lint/NAME.py: each is one test, prints what is wrong and ends with 1; 77 means skipped, reason on its last line."""
import concurrent.futures
import subprocess
import sys

from . import paths

SKIPPED = 77


def names():
    return sorted(path.stem for path in paths.TESTS.glob("lint/*.py") if not path.stem.startswith("_"))


def run(report, name):
    done = subprocess.run([sys.executable, str(paths.TESTS / "lint" / f"{name}.py")], cwd=paths.ROOT, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace")
    if done.returncode == SKIPPED:
        report.skipped(f"lint/{name}", done.stdout.strip().splitlines()[-1])
    elif done.returncode != 0:
        report.failed(f"lint/{name}", done.stdout)
    else:
        report.passed(f"lint/{name}")


def run_all(report, chosen):
    report.say(f"lint: {len(chosen)} checks")
    with concurrent.futures.ThreadPoolExecutor(paths.JOBS) as pool:
        for name in chosen:
            pool.submit(run, report, name)
