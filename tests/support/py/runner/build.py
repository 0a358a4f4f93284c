# SPDX-License-Identifier: Apache-2.0
"""The three instrumented builds. One that fails in part is used for the part that stands."""
import os
import re
import shutil
import subprocess

from . import paths

OPTIONS = {
    paths.BUILD_ADDRESS: ["-DPOSTERN_SANITIZE=address"],
    paths.BUILD_THREAD: ["-DPOSTERN_SANITIZE=thread"],
    paths.BUILD_FUZZ: ["-DPOSTERN_FUZZ=ON", "-DCMAKE_C_COMPILER=clang"],
}


PROGRESS = re.compile(r"\[\d+/\d+\] ")


def configure(directory):
    launcher = "ccache" if shutil.which("ccache") else ""
    command = ["cmake", "-G", "Ninja", "-S", str(paths.ROOT), "-B", str(directory), f"-DCMAKE_C_COMPILER_LAUNCHER={launcher}"]
    return run(command + OPTIONS[directory])


def run(command):
    cache = os.environ.get("CCACHE_DIR", str(paths.CACHE / "ccache"))
    return subprocess.run(command, env={**os.environ, "CCACHE_DIR": cache, "CCACHE_BASEDIR": str(paths.ROOT)},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")


def build(report, directory, targets=None):
    """
    Builds `targets` (None: all) and goes on past what breaks (ninja -k 0); failures are reported as build/NAME. True when all
    of it stands.
    """
    report.say(f"building {directory.name}")
    done = configure(directory)
    if done.returncode == 0:
        done = run(["ninja", "-C", str(directory), "-k", "0", *(targets or [])])
    if done.returncode != 0:
        # Without the lines of what went well, so that the reason is within what is kept.
        lines = [line for line in done.stdout.splitlines() if not PROGRESS.match(line)]
        report.failed(f"build/{directory.name}", "\n".join(lines))
    return done.returncode == 0
