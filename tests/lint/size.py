# SPDX-License-Identifier: Apache-2.0
"""No source file above 800 lines: a longer one holds two things."""
import _tree

LIMIT = 800

_tree.finish(
    (f"{path}: {lines} lines" for path in _tree.files(".c", ".h", ".py", ".mjs", ".sh")
     if (lines := _tree.text(path).count("\n")) > LIMIT),
    "Split it along what it does.")
