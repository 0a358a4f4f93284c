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


def parse(output):
    """[(outcome, test, detail)]; lines between two results belong to the one before or after, so they go with both."""
    results, before = [], []
    for line in output.splitlines():
        match = LINE.match(line)
        if not match:
            before.append(line)
            continue
        name = match.group(2)
        if name.startswith("# SKIP") or "# SKIP" in name:
            results.append(("skipped", name.replace("# SKIP", "").strip(), ""))
        elif match.group(1) == "ok":
            results.append(("passed", name, ""))
        else:
            results.append(("failed", name, "\n".join(before)))
        before = []
    return results


def run(report, group, name, program, prefix=()):
    """One program. `group` is unit, chain or threads; results are named GROUP/.../PROGRAM/TEST."""
    shown = name if name.startswith(group) else f"{group}/{name}"
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
            report.failed(f"{shown}/{test}", detail or output)
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
