# SPDX-License-Identifier: Apache-2.0
"""pytest suites: e2e and conformance against the instrumented binary, counted from the JUnit file pytest writes."""
import subprocess
import xml.etree.ElementTree

from . import paths

HARNESS = paths.TESTS / "support" / "py"
TIME_LIMIT = 900
NOTHING_COLLECTED = 5


def names(suite):
    return sorted(f"{suite}/{path.stem}" for path in (paths.TESTS / suite).glob("test_*.py"))


def marks_workers(name):
    return "pytest.mark.workers" in (paths.TESTS / f"{name}.py").read_text()


def count(report, suite, path):
    """Adds the results in a JUnit file; returns how many there were."""
    cases = list(xml.etree.ElementTree.parse(path).getroot().iter("testcase"))
    for case in cases:
        name = f"{suite}/{case.get('classname', '').split('.')[-1]}/{case.get('name')}"
        bad = [child for child in case if child.tag in ("failure", "error")]
        skipped = case.find("skipped")
        if bad:
            parts = [f"{child.get('message', '')}\n{child.text or ''}" for child in bad]
            parts += [child.text or "" for child in case if child.tag in ("system-out", "system-err")]
            report.failed(name, "\n".join(parts))
        elif skipped is not None:
            report.skipped(name, skipped.get("message") or "no reason given")
        else:
            report.passed(name)
    return len(cases)


def run(report, suite, files, binary, options=(), prefix=()):
    """
    `suite` names the results; `files` are ids as names() gives them; `options` go to pytest (-k, -m).
    """
    report.say(f"{suite}: {len(files)} files with {binary.parent.name}/{binary.name}")
    if not binary.exists():
        report.failed(suite, f"{binary.relative_to(paths.ROOT)} was not built")
        return
    paths.RESULTS.mkdir(parents=True, exist_ok=True)
    junit = paths.RESULTS / f"{suite}.xml"
    junit.unlink(missing_ok=True)
    command = [str(paths.VENV / "bin" / "python"), "-m", "pytest", "-q", "-p", "harness.plugin", "-p", "no:cacheprovider",
               f"--rootdir={paths.TESTS}", f"--junitxml={junit}", f"--basetemp={paths.CACHE / ('tmp-' + suite)}",
               "-n", str(2 * paths.JOBS), "--dist", "worksteal", *options,
               *[str(paths.TESTS / f"{name}.py") for name in files]]
    env = paths.environment(PYTHONPATH=HARNESS, PYTHONDONTWRITEBYTECODE=1, POSTERN_BINARY=binary,
                            POSTERN_WRAP=" ".join(prefix), POSTERN_NODE=paths.NODE, POSTERN_GO=paths.GO / "bin",
                            POSTERN_CACHE=paths.CACHE)
    try:
        done = subprocess.run(command, cwd=paths.ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", timeout=TIME_LIMIT)
        output, code = done.stdout, done.returncode
    except subprocess.TimeoutExpired as late:
        output, code = (late.stdout or b"").decode(errors="replace") + f"\nstill running after {TIME_LIMIT} s", -1
    if code == NOTHING_COLLECTED:
        return
    found = count(report, suite, junit) if junit.exists() else 0
    if code not in (0, 1) or found == 0:
        report.failed(f"{suite} (pytest ended with {code})", output)
