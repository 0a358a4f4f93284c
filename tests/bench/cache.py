# SPDX-License-Identifier: Apache-2.0
"""
What the cache costs: hits from memory beside nginx's proxy_cache, hits from Redis, and what a request pays that finds nothing.

nginx is made to keep answers to POST by the whole request body, in files that lie in the page cache; it keeps their descriptors open. It
does not parse what it hashes, so it takes requests that differ in a blank for different ones, and it keeps an event stream only as an
answer of its own to a request of its own. It is the nearest thing that people run.
"""
import base64
import contextlib
import secrets
import shutil

import limits
import measure
import servers

CONNECTIONS, REQUESTS = 32, 12000
ENTRIES = 6000              # more than a memory of 1 MiB holds, so that hardly any is found there when all are asked for in turn
FEW, MANY = 200, 1200       # requests of the two runs under callgrind
HIT_COLUMNS = ["JSON", "req/s", "p50 µs", "events", "as events"]


class Keeping(servers.Postern):
    """Postern with a cache in memory, large enough for all."""

    memory, store = "64MiB", None

    def adjust(self, config):
        kept = {"type": "cache", "memory": self.memory, "scope": "shared", "rules": [{"operations": ["chat"]}]}
        if self.store:
            config["stores"] = [{"name": "shared", "redis": {"url": f"redis://127.0.0.1:{self.store}", "deadline": "5s"}}]
            keys = self.write("keys", "bench:" + base64.b64encode(secrets.token_bytes(32)).decode() + "\n")
            kept.update(store="shared", seal={"keys": {"file": keys}}, lookup_timeout="1s")
        config["filters"] = {"answers": kept}
        config["listeners"][0]["filters"] = ["answers"]


class NginxKeeping(servers.Nginx):
    # Streams are kept although the upstream wants them not to be held back.
    in_http = "proxy_cache_path {folder}/kept levels=1:2 keys_zone=kept:64m max_size=1g inactive=1h use_temp_path=off; " \
              "open_file_cache max=20000 inactive=1h; open_file_cache_min_uses 1; open_file_cache_valid 1h;"
    in_location = 'proxy_cache kept; proxy_cache_methods POST; proxy_cache_key "$request_uri $request_body"; proxy_cache_valid 200 1h; ' \
                  "proxy_ignore_headers X-Accel-Buffering; proxy_cache_lock on;"


class Passing(servers.Postern):
    name = "no filter"


class FromMemory(Keeping):
    name = "from memory"


class FromRedis(Keeping):
    """Its memory is too small for what it is asked for."""

    name = "from Redis"
    memory = "1MiB"

    def available(self):
        return super().available() and shutil.which("redis-server") is not None

    def start(self, *arguments):
        self.redis = limits.Redis()
        self.store = self.redis.port
        return super().start(*arguments)

    def stop(self):
        super().stop()
        with contextlib.suppress(AttributeError):
            self.redis.stop()


LEVELS = (Passing, FromMemory, FromRedis)


def hits(tools, server, files, costed):
    """CPU time of hits: JSON that was kept as JSON, events kept as events, and (Postern's alone) JSON given as events."""
    def drive(form, first):
        return costed(server, lambda: tools.load(server.h1, files[form], CONNECTIONS, REQUESTS, vary=(first, 1)), "requests")

    json, events = drive("JSON", 1), drive("stream", 2)
    found = {"JSON": json["cpu"], "req/s": json["requests"] / json["seconds"], "p50 µs": json["p50"], "events": events["cpu"]}
    if isinstance(server, Keeping):
        found["as events"] = drive("stream", 1)["cpu"]
    return found


def levels(tools, bed, file, costed, interleaved):
    """Columns and rows: the same questions in turn, answered by the target, from memory and from Redis."""
    for server in bed.servers:
        tools.load(server.h1, file, CONNECTIONS, ENTRIES, vary=(0, ENTRIES))
    columns = ["CPU µs", "over memory", "req/s", "p50 µs", "Redis µs"]

    def run(server):
        redis = server.redis if isinstance(server, FromRedis) else None
        before = measure.cpu_microseconds(redis) if redis else 0
        result = costed(server, lambda: tools.load(server.h1, file, CONNECTIONS, ENTRIES, vary=(0, ENTRIES)), "requests")
        found = {"CPU µs": result["cpu"], "req/s": result["requests"] / result["seconds"], "p50 µs": result["p50"]}
        if redis:
            found["Redis µs"] = (measure.cpu_microseconds(redis) - before) / result["requests"]
        return found

    rows = interleaved(bed, run)
    for name, row in rows.items():
        if name == FromRedis.name:
            row["over memory"] = row["CPU µs"] - rows[FromMemory.name]["CPU µs"]
    return columns, rows


def instructions(tools, bed, files):
    """{case: {column: value}}: a hit beside nginx's, a miss beside the same request without the filter."""
    rows = {}

    def case(name, server_name, form, new):
        measure.note(f"callgrind: {name}")
        runs = []
        for count in (FEW, MANY):
            folders = []

            def drive(server, count=count, folders=folders):
                folders.append(server.folder)
                tools.load(server.h1, files[form], 1, count, vary=(1, count if new else 1))

            total = measure.instructions(bed.make[server_name], drive)
            runs.append((total, measure.counted_object(folders[0], "libcrypto")))
        total, crypto = ((high - low) / (MANY - FEW) for low, high in zip(*runs))
        rows[name] = {"instr.": total, "OpenSSL": crypto, "others": total - crypto}

    case("no filter", "no filter", "JSON", True)
    case("miss", "postern", "JSON", True)
    case("hit", "postern", "JSON", False)
    if "nginx" in bed.make:
        case("nginx, hit", "nginx", "JSON", False)
    rows["miss"]["adds"] = rows["miss"]["others"] - rows["no filter"]["others"]
    return rows
