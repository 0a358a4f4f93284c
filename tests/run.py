#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
Every test of the project, or a part of it: what `./dev test [PATTERN ...]` runs once Debian's packages are there.

Names are paths: lint/spdx, unit/http/h1_reader_test, chain/..., threads/..., fuzz/json, e2e/test_sdk_python, conformance/test_h2spec,
deploy/test_chart.
A pattern selects every name that holds it. The last line is `N passed, N failed, N skipped`; the exit code is 1 when anything failed
or nothing ran.
"""
import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support" / "py"))
sys.dont_write_bytecode = True

from runner import build, cmocka, fuzz, lint, paths, suites, tools  # noqa: E402
from runner.report import Report  # noqa: E402

SHORT_FUZZ_SECONDS = 6


class Plan:
    """What the patterns select."""

    def __init__(self, patterns):
        def chosen(names, shown=lambda name: name):
            return [name for name in names if not patterns or any(pattern in shown(name) for pattern in patterns)]

        programs = cmocka.sources()
        self.lint = chosen(lint.names(), lambda name: f"lint/{name}")
        self.unit = chosen([name for name in programs if name.startswith("unit/")])
        self.chain = chosen([name for name in programs if name.startswith("chain/")])
        threaded = [name for name, source in programs.items() if cmocka.uses_threads(source)]
        self.threads = chosen(threaded, cmocka.threads_name)
        # The suites that also run with several workers under ThreadSanitizer.
        self.workers = chosen([name for name in suites.names("e2e") if suites.marks_workers(name)],
                              lambda name: name.replace("e2e", "threads", 1))
        self.fuzz = chosen(fuzz.names(), lambda name: f"fuzz/{name}")
        self.e2e = chosen(suites.names("e2e"))
        self.conformance = chosen(suites.names("conformance"))
        self.deploy = chosen(suites.names("deploy"))
        # Two builds of an image: minutes, and root. Only when asked for.
        self.image = chosen(suites.names("image")) if patterns else []

    def groups(self):
        return vars(self)

    def empty(self):
        return not any(self.groups().values())


def run_instrumented(report, plan):
    """Unit and chain programs, then the suites, under AddressSanitizer and UndefinedBehaviorSanitizer."""
    programs = plan.unit + plan.chain
    targets = [cmocka.target(name) for name in programs]
    if plan.e2e or plan.conformance or plan.deploy:
        targets.append("postern")
    if not targets:
        return
    build.build(report, paths.BUILD_ADDRESS, targets)
    for group in ("unit", "chain"):
        if getattr(plan, group):
            cmocka.run_all(report, group, getattr(plan, group), paths.BUILD_ADDRESS)


def run_threads(report, plan, ready):
    """What runs in several threads, under ThreadSanitizer."""
    if not (plan.threads or plan.workers):
        return
    prefix = cmocka.without_address_randomisation()
    if not prefix:
        report.skipped("threads", "setarch -R is not allowed here, and ThreadSanitizer needs it")
        return
    build.build(report, paths.BUILD_THREAD, [cmocka.target(name) for name in plan.threads] + ["postern"] * bool(plan.workers))
    if plan.threads:
        cmocka.run_all(report, "threads", plan.threads, paths.BUILD_THREAD, prefix)
    if plan.workers and ready():
        suites.run(report, "threads", plan.workers, paths.BUILD_THREAD / "postern", ["-m", "workers"], prefix)


def run_fuzz(report, plan, seconds):
    if plan.fuzz:
        build.build(report, paths.BUILD_FUZZ, plan.fuzz)
        fuzz.run_all(report, plan.fuzz, seconds)


def run_suites(report, plan, ready):
    for suite in ("e2e", "conformance", "deploy", "image"):
        if getattr(plan, suite) and ready():
            suites.run(report, suite, getattr(plan, suite), paths.BUILD_ADDRESS / "postern")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patterns", nargs="*", metavar="PATTERN")
    parser.add_argument("--list", action="store_true", help="print the names instead of running them")
    parser.add_argument("--fuzz-seconds", type=int, default=SHORT_FUZZ_SECONDS, help="per fuzz target (default: %(default)s)")
    arguments = parser.parse_args()
    plan = Plan(arguments.patterns)
    if arguments.list:
        for group, names in plan.groups().items():
            print("\n".join(f"{group}: {name}" for name in names))
        return 0
    report = Report()
    fetched = tools.Tools(report) if plan.e2e or plan.conformance or plan.deploy or plan.image or plan.workers else None
    outcome = []

    def ready():
        """Waits, once, for the packages; False when the suites cannot run."""
        if not outcome:
            outcome.append(fetched.wait())
        return outcome[0]

    if plan.lint:
        lint.run_all(report, plan.lint)
    run_instrumented(report, plan)
    run_fuzz(report, plan, arguments.fuzz_seconds)
    run_suites(report, plan, ready)
    run_threads(report, plan, ready)
    if not arguments.patterns:
        report.skipped("image", "the image is built by ./dev test image alone")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
