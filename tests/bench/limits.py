# SPDX-License-Identifier: Apache-2.0
"""What limits add to a request: counted in memory, and in a Redis on the core of the load."""
import shutil
import statistics
import subprocess

import measure
import servers

FEW, MANY = 500, 3000          # requests of the two runs under callgrind
CONNECTIONS = 64               # at a time: what comes in one turn of the loop goes to Redis in one write
ROUND, ROUNDS = 6000, 7        # requests in a round, and rounds

REQUESTS = {"name": "requests", "requests": "1000000000/second"}
TOKENS = {"name": "tokens", "tokens": "1000000000000/minute"}
PARALLEL = {"name": "parallel", "concurrency": 100000}
CASES = {
    "no limits": None,
    "memory, requests": (False, [REQUESTS]),
    "Redis, requests": (True, [REQUESTS]),
    "memory, tokens": (False, [TOKENS]),
    "Redis, tokens": (True, [TOKENS]),
    "Redis, all three": (True, [REQUESTS, TOKENS, PARALLEL]),
}


class Redis:
    """A server for one run."""

    def __init__(self):
        [self.port] = servers.free_ports(1)
        self.child = subprocess.Popen(servers.pinned(servers.LOAD_CORE, ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1",
                                                                        "--save", "", "--appendonly", "no"]), stdout=subprocess.DEVNULL)

    def stop(self):
        self.child.kill()
        self.child.wait()


class Limited(servers.Postern):
    case, redis = None, None

    def adjust(self, config):
        if not self.case:
            return
        shared, limits = self.case
        settings = {"type": "rate_limit", "limits": limits}
        if shared:
            # Under callgrind everything takes fifty times as long; that is no lost store.
            config["stores"] = [{"name": "shared", "redis": {"url": f"redis://127.0.0.1:{self.redis}", "deadline": "5s"}}]
            settings["store"] = "shared"
        config["filters"] = {"limit": settings}
        config["listeners"][0]["filters"] = ["limit"]


def kind(name, case, redis):
    return type("Limited", (Limited,), {"name": f"limits-{name.replace(' ', '-').replace(',', '')}", "case": case, "redis": redis})


def timed(tools, folder, kinds, upstream, file):
    """CPU time per request and requests per second: medians of rounds in which each has its turn."""
    running = {name: one(folder, upstream).start() for name, one in kinds.items()}
    cpu, rate = ({name: [] for name in running} for _ in range(2))
    try:
        for turn in range(ROUNDS + 1):
            for name, server in running.items():
                before = measure.cpu_microseconds(server)
                seconds = tools.load(server.h1, file, CONNECTIONS, ROUND)["seconds"]
                if turn:
                    cpu[name].append((measure.cpu_microseconds(server) - before) / ROUND)
                    rate[name].append(ROUND / seconds)
    finally:
        for server in running.values():
            server.stop()
    return {name: (statistics.median(cpu[name]), statistics.median(rate[name])) for name in running}


def instructions(tools, folder, one, upstream, file):
    measure.note(f"callgrind: {one.name}")
    low, high = (measure.instructions(lambda: one(folder, upstream), lambda server: tools.load(server.h1, file, CONNECTIONS, count))
                 for count in (FEW, MANY))
    return (high - low) / (MANY - FEW)


def rows(tools, folder, upstream, file):
    if not shutil.which("redis-server"):
        raise RuntimeError("redis-server is not there")
    redis = Redis()
    try:
        kinds = {name: kind(name, case, redis.port) for name, case in CASES.items()}
        times = timed(tools, folder, kinds, upstream, file)
        counted = {name: instructions(tools, folder, one, upstream, file) for name, one in kinds.items()}
    finally:
        redis.stop()
    plain, plain_cpu, plain_rate = counted["no limits"], *times["no limits"]
    return {name: {"instr.": counted[name], "adds instr.": counted[name] - plain, "CPU µs": times[name][0],
                   "adds µs": times[name][0] - plain_cpu, "requests/s": times[name][1], "of no limits %": 100 * times[name][1] / plain_rate}
            for name in CASES}
