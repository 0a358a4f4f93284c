# SPDX-License-Identifier: Apache-2.0
"""What the lint tests share: the files of the project, and C text without comments and strings."""
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
SKIPPED = 77
LIBRARIES = ["libevent_core", "openssl", "libnghttp2", "hiredis", "libcares", "yaml-0.1", "libzstd"]
OURS = ("proxy", "filters", "config")
NOT_OURS = {".git", ".cache", "node_modules", "__pycache__", "corpus"}


def files(*suffixes, under=("",)):
    """Paths relative to the root, sorted; every file when no suffix is given."""
    found = []
    for top in under:
        for folder, names, leaves in os.walk(ROOT / top):
            names[:] = [name for name in names if name not in NOT_OURS and not name.startswith("build")]
            for leaf in leaves:
                path = (pathlib.Path(folder) / leaf).relative_to(ROOT)
                if not suffixes or path.suffix in suffixes:
                    found.append(path)
    return sorted(found)


def text(path):
    return (ROOT / path).read_text(encoding="utf-8", errors="replace")


TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)


def code(path):
    """C without comments and the insides of strings; lines keep their numbers."""
    return TOKEN.sub(lambda match: '""' + "\n" * match.group().count("\n"), text(path))


def search(path, content, pattern):
    """Yields "path:line: text" for each match of a compiled pattern."""
    for match in pattern.finditer(content):
        line = content.count("\n", 0, match.start()) + 1
        yield f"{path}:{line}: {match.group().strip()}"


def version_of(tool, version):
    """The name under which that major version of a clang tool is on PATH, or None."""
    for name in (f"{tool}-{version}", tool):
        if shutil.which(name):
            said = subprocess.run([name, "--version"], capture_output=True, text=True).stdout
            if re.search(rf"version {version}\.", said):
                return name
    return None


def library_flags():
    return subprocess.run(["pkg-config", "--cflags", *LIBRARIES], capture_output=True, text=True).stdout.split()


def finish(findings, advice):
    """Ends the check: prints what was found and what to do."""
    findings = list(findings)
    for finding in findings:
        print(finding)
    if findings:
        print(f"{len(findings)} found. {advice}")
    sys.exit(1 if findings else 0)


def skip(reason):
    print(reason)
    sys.exit(SKIPPED)
