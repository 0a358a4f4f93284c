# SPDX-License-Identifier: Apache-2.0
"""C files are as clang-format 14 leaves them; other versions differ in small ways and are not asked."""
import subprocess

import _tree

VERSION = 14

name = _tree.version_of("clang-format", VERSION)
if not name:
    _tree.skip(f"formatting is judged by clang-format {VERSION}, which is not here")
paths = [str(path) for path in _tree.files(".c", ".h")]
done = subprocess.run([name, "--dry-run", "--Werror", *paths], cwd=_tree.ROOT, capture_output=True, text=True)
_tree.finish(sorted({line.split(":")[0] for line in done.stderr.splitlines() if "error:" in line}), "Run ./dev format.")
