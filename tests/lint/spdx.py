# SPDX-License-Identifier: Apache-2.0
"""Every file says its licence in its first three lines, in whatever comment it has."""
import _tree

LINE = "SPDX-License-Identifier: Apache-2.0"
# Formats without comments, and the licence itself.
EXEMPT_SUFFIXES = {".json", ".pem", ".crt", ".key", ".png", ".svg"}
EXEMPT_NAMES = {"LICENSE", ".gitignore", ".dockerignore", ".helmignore"}
# Texts whose every byte is counted; the README beside them says the licence.
EXEMPT_FOLDERS = {"tests/support/estimate", "tests/support/replay"}

_tree.finish(
    (f"{path}: no licence line" for path in _tree.files()
     if path.suffix not in EXEMPT_SUFFIXES and path.name not in EXEMPT_NAMES
     and not (path.suffix in {".txt", ".sse"} and path.parent.as_posix() in EXEMPT_FOLDERS)
     and LINE not in "\n".join(_tree.text(path).splitlines()[:3])),
    f"Begin the file with: {LINE}")
