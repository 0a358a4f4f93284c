# SPDX-License-Identifier: Apache-2.0
"""
An include may only follow the arrows: main -> command -> filters -> gateway -> {http, openai, net, config} -> base. Libraries are seen
by the files that own them and nobody else.
"""
import pathlib
import re

import _tree

BELOW = {
    "base": set(),
    "http": {"base"},
    "openai": {"base"},
    "net": {"base"},
    "config": {"base"},
    "gateway": {"base", "http", "openai", "net", "config"},
    "filters": {"base", "http", "openai", "net", "config", "gateway"},
    "command": {"base", "http", "openai", "net", "config", "gateway", "filters"},
    "main": {"base", "config", "gateway", "filters", "command"},
}
# Library header -> the files that may include it.
LIBRARIES = {
    r"event2/|event\.h|evhttp": r"proxy/net/",
    r"openssl/": r"proxy/(base/(crypto|encoding)|net/tls)[a-z0-9_]*\.[ch]$",
    r"nghttp2/": r"proxy/http/h2_[a-z0-9_]*\.[ch]$",
    r"hiredis/": r"proxy/gateway/redis[a-z0-9_]*\.c$",
    r"ares": r"proxy/net/resolver[a-z0-9_]*\.[ch]$",
    r"yaml\.h": r"config/[a-z0-9_]+\.c$",
    r"zstd": r"(proxy|filters)/.*\.c$",
    r"cmocka": r"$.",
}
SINGLE = ("yaml.h", "zstd.h")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)


def room(path):
    """The room of a file of ours."""
    if path.parts[0] in ("filters", "config"):
        return path.parts[0]
    return "main" if len(path.parts) == 2 else path.parts[1]


def quoted(path, name):
    target = pathlib.PurePosixPath(name)
    if len(target.parts) < 2 or target.parts[0] not in BELOW:
        yield f'{path}: "{name}" does not begin with a room'
    elif target.parts[0] != room(path) and target.parts[0] not in BELOW[room(path)]:
        yield f'{path}: {room(path)} may not see "{name}"'


def angled(path, name, owners):
    for library, allowed in LIBRARIES.items():
        if re.match(library, name) and not re.match(allowed, str(path)):
            yield f"{path}: <{name}> belongs to other files ({allowed})"
    if name in SINGLE:
        owners.setdefault(name, []).append(path)


def findings():
    owners = {}
    for path in _tree.files(".c", ".h", under=_tree.OURS):
        if room(path) not in BELOW:
            yield f"{path}: {room(path)} is no room of the house"
            continue
        includes = INCLUDE.findall(_tree.text(path))
        for ours, theirs in includes:
            yield from quoted(path, ours) if ours else angled(path, theirs, owners)
        own = path.with_suffix(".h")
        expected = str(pathlib.PurePosixPath(*own.parts[1:]) if own.parts[0] == "proxy" else own)
        # Or the header its parts share, which includes it: request.c begins with openai/request_parts.h.
        first = includes[0][0] if includes else ""
        if path.suffix == ".c" and (_tree.ROOT / own).exists() and first != expected and not first.startswith(expected[:-2] + "_"):
            yield f'{path}: "{expected}" is not its first include'
    for name, paths in owners.items():
        if len(paths) > 1:
            yield f"<{name}> is included by more than one file: {', '.join(map(str, paths))}"


_tree.finish(findings(), "See the arrows in proxy/README.md.")
