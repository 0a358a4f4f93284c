# SPDX-License-Identifier: Apache-2.0
"""The shell scripts parse, and files people run are executable."""
import os
import subprocess

import _tree

findings = []
scripts = sorted(str(path.relative_to(_tree.ROOT)) for path in (_tree.ROOT / "deploy").rglob("*.sh"))
for path in ("dev", ".ci/run", *scripts):
    done = subprocess.run(["bash", "-n", path], cwd=_tree.ROOT, capture_output=True, text=True)
    findings += [f"{path}: {done.stderr}"] if done.returncode != 0 else []
    findings += [] if os.access(_tree.ROOT / path, os.X_OK) else [f"{path}: not executable"]
_tree.finish(findings, "Mend the script.")
