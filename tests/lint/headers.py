# SPDX-License-Identifier: Apache-2.0
"""Every header compiles alone."""
import concurrent.futures
import os
import subprocess

import _tree

FLAGS = ["-std=c17", "-D_GNU_SOURCE", "-DPOSTERN_VERSION=\"lint\"", "-Wall", "-Wextra", "-Wshadow", "-Wconversion",
         "-Wstrict-prototypes", "-Wno-unused-function", "-Werror", "-fsyntax-only", "-Iproxy", "-I."]


def check(path):
    done = subprocess.run([os.environ.get("CC", "cc"), *FLAGS, *CFLAGS, "-x", "c", "-"], input=f'#include "{path}"\n', cwd=_tree.ROOT,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return "" if done.returncode == 0 else f"{path}:\n{done.stdout}"


CFLAGS = _tree.library_flags()
with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    findings = list(pool.map(check, _tree.files(".h", under=_tree.OURS)))
_tree.finish(filter(None, findings), "Include or declare what the header uses.")
