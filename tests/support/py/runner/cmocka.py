# SPDX-License-Identifier: Apache-2.0
"""Runs cmocka programs and counts their single tests from the TAP they print."""
import concurrent.futures
import re
import shutil
import subprocess

from . import paths

LINE = re.compile(r"^(not ok|ok) \d+ -? ?(.*)$")
TIME_LIMIT = 180


def sources():
    """{id: source} of every test program; the id is its path below tests/ without the ending."""
    found = sorted([*paths.TESTS.glob("unit/**/*_test.c"), *paths.TESTS.glob("chain/**/*_test.c")])
    return {str(path.relative_to(paths.TESTS).with_suffix("")): path for path in found}


def target(name):
    return name.replace("/", ".")


def uses_threads(source):
    return "pthread_create" in source.read_text(errors="replace")


def threads_name(name):
    """unit/net/loop_test -> threads/net/loop_test"""
    return "threads/" + name.split("/", 1)[1]


def parse(output):
    """[(outcome, test, detail)]; a failure's detail is what stands between the results before and after it."""
    results, lines = [], output.splitlines()
    marks = [number for number, line in enumerate(lines) if LINE.match(line)]
    for place, number in enumerate(marks):
        good, name = LINE.match(lines[number]).groups()
        before = marks[place - 1] + 1 if place else 0
        after = marks[place + 1] if place + 1 < len(marks) else len(lines)
        if name.startswith("# SKIP"):
            results.append(("skipped", name[len("# SKIP"):].strip(), ""))
        elif good == "ok":
            results.append(("passed", name, ""))
        else:
            results.append(("failed", name, "\n".join(lines[before:after])))
    return results


def run(report, group, name, program, prefix=()):
    """One program; results are named GROUP/.../PROGRAM/TEST."""
    shown = threads_name(name) if group == "threads" else name
    if not program.exists():
        report.failed(shown, "not built (see the build's output)")
        return
    try:
        done = subprocess.run([*prefix, str(program)], cwd=paths.ROOT, env=paths.environment(CMOCKA_MESSAGE_OUTPUT="TAP"),
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TIME_LIMIT)
        output, code = done.stdout.decode(errors="replace"), done.returncode
    except subprocess.TimeoutExpired as late:
        output, code = (late.stdout or b"").decode(errors="replace") + f"\nstill running after {TIME_LIMIT} s", -1
    results = parse(output)
    for outcome, test, detail in results:
        if outcome == "failed":
            report.failed(f"{shown}/{test}", detail)
        elif outcome == "skipped":
            report.skipped(f"{shown}/{test}", f"{shown}/{test} skips itself")
        else:
            report.passed(f"{shown}/{test}")
    failed = any(outcome == "failed" for outcome, _, _ in results)
    if code != 0 and not failed:
        report.failed(f"{shown} (exit code {code})", output)
    elif not results:
        report.failed(shown, "no test in it\n" + output)


def run_all(report, group, names, directory, prefix=()):
    report.say(f"{group}: {len(names)} programs")
    with concurrent.futures.ThreadPoolExecutor(paths.JOBS) as pool:
        for name in names:
            pool.submit(run, report, group, name, directory / "tests" / target(name), prefix)


def without_address_randomisation():
    """
    ThreadSanitizer of gcc 12 and clang 14 does not know the address layouts of newer kernels. Returns the command that turns them off,
    or [] where that is not allowed.
    """
    command = ["setarch", "-R"]
    if shutil.which("setarch") and subprocess.run([*command, "true"], capture_output=True).returncode == 0:
        return command
    return []
