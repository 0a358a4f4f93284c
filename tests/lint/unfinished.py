# SPDX-License-Identifier: Apache-2.0
"""Nothing is left for later inside the tree: what is not done is an issue."""
import re

import _tree

MARKS = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")
WORDS = re.compile(r"\b(?:not implemented yet|temporary hack|until it is implemented)\b", re.IGNORECASE)


def findings():
    for path in _tree.files(".c", ".h", ".py", ".mjs", ".md", ".yaml", ".txt", ".cmake", ""):
        if path.parts[:2] == ("tests", "lint") or path.name == "LICENSE":
            continue
        for pattern in (MARKS, WORDS):
            yield from _tree.search(path, _tree.text(path), pattern)


_tree.finish(findings(), "Finish it, or write an issue.")
