# SPDX-License-Identifier: Apache-2.0
"""What an answer from the cache costs, beside nginx's proxy_cache; what a miss adds to a request."""
import statistics

import measure
import servers

FEW, MANY = 500, 3000          # requests of the two runs under callgrind
CONNECTIONS = 32
ROUND, ROUNDS = 6000, 7        # requests in a round, and rounds


class Kept(servers.Postern):
    name = "postern-hit"

    def adjust(self, config):
        config["filters"] = {"answers": {"type": "cache", "rules": [{"operations": ["chat"], "max_temperature": 2}]}}
        config["listeners"][0]["filters"] = ["answers"]


class Missed(servers.Postern):
    """An answer larger than max_size is never kept: each request is a miss, if only one is under way at a time."""
    name = "postern-miss"

    def adjust(self, config):
        config["filters"] = {"answers": {"type": "cache", "max_size": "1KiB", "rules": [{"operations": ["chat"], "max_temperature": 2}]}}
        config["listeners"][0]["filters"] = ["answers"]


class Single(servers.Postern):
    name = "postern"


class NginxKept(servers.Nginx):
    """Found by the whole body, as far as nginx can: it compares bytes, not values."""
    name = "nginx-hit"

    def write(self, name, text):
        text = text.replace("upstream u {", f"proxy_cache_path {self.folder}/cache keys_zone=answers:10m;\n    upstream u {{", 1)
        text = text.replace("proxy_http_version 1.1;", 'proxy_http_version 1.1; proxy_cache answers; proxy_cache_methods POST; '
                            'proxy_cache_key "$uri$request_body"; proxy_cache_valid 200 1h; '
                            'proxy_ignore_headers Cache-Control Expires Set-Cookie Vary X-Accel-Expires X-Accel-Buffering;', 1)
        return super().write(name, text)


def timed(tools, running, file):
    """CPU time per request: medians of rounds in which each has its turn."""
    cpu = {server: [] for server, _ in running}
    for turn in range(ROUNDS + 1):
        for server, connections in running:
            before = measure.cpu_microseconds(server)
            tools.load(server.h1, file, connections, ROUND)
            if turn:
                cpu[server].append((measure.cpu_microseconds(server) - before) / ROUND)
    return {server: statistics.median(found) for server, found in cpu.items()}


def instructions(tools, folder, one, connections, upstream, file):
    measure.note(f"callgrind: {one.name}")
    low, high = (measure.instructions(lambda: one(folder, upstream), lambda server: tools.load(server.h1, file, connections, count))
                 for count in (FEW, MANY))
    return (high - low) / (MANY - FEW)


def rows(tools, folder, upstream, file):
    kinds = [(servers.Postern, CONNECTIONS), (Kept, CONNECTIONS), (servers.Nginx, CONNECTIONS), (NginxKept, CONNECTIONS)]
    alone = [(Single, 1), (Missed, 1)]
    result = {}
    for group, suffix in ((kinds, ""), (alone, ", 1 at a time")):
        running = [(kind(folder, upstream), connections) for kind, connections in group if kind(folder, upstream).available()]
        try:
            for server, _ in running:
                server.start()
            for server, cpu in timed(tools, running, file).items():
                result[server.name + suffix] = {"CPU µs": cpu}
        finally:
            for server, _ in running:
                server.stop()
    for kind, connections in (*kinds[:2], *alone):
        suffix = ", 1 at a time" if connections == 1 else ""
        result[kind.name + suffix]["instr."] = instructions(tools, folder, kind, connections, upstream, file)
    return result
