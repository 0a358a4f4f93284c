# SPDX-License-Identifier: Apache-2.0
"""clang-tidy 14 finds no mistake (.clang-tidy says what counts as one); other versions know other checks and are not asked."""
import concurrent.futures
import os
import re
import subprocess

import _tree

VERSION = 14
FLAGS = ["-std=c17", "-D_GNU_SOURCE", '-DPOSTERN_VERSION="lint"', "-Iproxy", "-I."]
BATCH = 8


def check(paths):
    done = subprocess.run([NAME, "--quiet", *map(str, paths), "--", *FLAGS, *CFLAGS], cwd=_tree.ROOT, capture_output=True, text=True)
    lines = [line.replace(f"{_tree.ROOT}/", "") for line in done.stdout.splitlines() if re.search(r": (error|warning): ", line)]
    return lines if lines or done.returncode == 0 else [done.stderr]


NAME = _tree.version_of("clang-tidy", VERSION)
if not NAME:
    _tree.skip(f"code is judged by clang-tidy {VERSION}, which is not here")
CFLAGS = _tree.library_flags()
SOURCES = _tree.files(".c", under=_tree.OURS)
with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    batches = [SOURCES[place:place + BATCH] for place in range(0, len(SOURCES), BATCH)]
    findings = {line for batch in pool.map(check, batches) for line in batch}
_tree.finish(sorted(findings), "Mend it, or explain with NOLINT(check) and a reason.")
