# SPDX-License-Identifier: Apache-2.0
"""What limits add to a request: counted in memory, and in a Redis on the core of the load."""
import json
import shutil
import statistics
import subprocess

import measure
import servers

FEW, MANY = 300, 1500          # requests of the two runs under callgrind
CONNECTIONS = 64               # at a time: what comes in one turn of the loop goes to Redis in one write
ROUND, ROUNDS = 4000, 5        # requests in a round, and rounds
CONSUMERS = 10, 1000, 100000
DECISIONS = 20000              # of consumers in no order

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
STORE_SOURCES = ["gateway/limits.c", "gateway/limits_memory.c", "gateway/limits_store.c", "gateway/limits_table.c", "base/clock.c", "base/hash.c",
                 "base/memory.c"]


class Redis:
    """A server for one run."""

    def __init__(self):
        [self.port] = servers.free_ports(1)
        self.child = subprocess.Popen(servers.pinned(servers.LOAD_CORE, ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1",
                                                                        "--save", "", "--appendonly", "no"]), stdout=subprocess.DEVNULL)

    def processes(self):
        return [self.child.pid]

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


def timed(tools, folder, kinds, redis, upstream, file):
    """CPU time per request of Postern and of Redis, and requests per second: medians of rounds in which each has its turn."""
    running = {name: one(folder, upstream).start() for name, one in kinds.items()}
    found = {name: [] for name in running}
    try:
        for turn in range(ROUNDS + 1):
            for name, server in running.items():
                before = [measure.cpu_microseconds(one) for one in (server, redis)]
                seconds = tools.load(server.h1, file, CONNECTIONS, ROUND)["seconds"]
                used = [(measure.cpu_microseconds(one) - start) / ROUND for one, start in zip((server, redis), before)]
                if turn:
                    found[name].append((*used, ROUND / seconds))
    finally:
        for server in running.values():
            server.stop()
    return {name: [statistics.median(column) for column in zip(*rounds)] for name, rounds in found.items()}


def instructions(tools, folder, one, upstream, file):
    measure.note(f"callgrind: {one.name}")
    low, high = (measure.instructions(lambda: one(folder, upstream), lambda server: tools.load(server.h1, file, CONNECTIONS, count))
                 for count in (FEW, MANY))
    return (high - low) / (MANY - FEW)


def rows(tools, folder, upstream, file):
    """
    {case: {column: value}}. `per core %`: the requests that one core of Postern's answers, of those without limits, by CPU time.
    `here %`: the same as measured with Redis, load and upstream on one core between them, which is then what limits both.
    """
    if not shutil.which("redis-server"):
        raise RuntimeError("redis-server is not there")
    redis = Redis()
    try:
        kinds = {name: kind(name, case, redis.port) for name, case in CASES.items()}
        times = timed(tools, folder, kinds, redis, upstream, file)
        counted = {name: instructions(tools, folder, one, upstream, file) for name, one in kinds.items()}
    finally:
        redis.stop()
    plain, (plain_cpu, _, plain_rate) = counted["no limits"], times["no limits"]
    return {name: {"instr.": counted[name], "adds instr.": counted[name] - plain, "CPU µs": cpu, "adds µs": cpu - plain_cpu, "Redis µs": redis_cpu,
                   "requests/s": rate, "per core %": 100 * plain_cpu / cpu, "here %": 100 * rate / plain_rate}
            for name, (cpu, redis_cpu, rate) in times.items()}


def consumers(folder):
    """{number of consumers: {column: value}}: one decision of the memory store, taken and settled."""
    measure.compile_tool(folder, "consumers", f"-I{servers.ROOT}/proxy", *(f"{servers.ROOT}/proxy/{source}" for source in STORE_SOURCES), "-lpthread")
    made = {}
    for keys in CONSUMERS:
        command = [str(folder / "consumers"), str(keys)]
        low, high = (measure.program_instructions([*command, str(count)], folder, "decide") for count in (0, DECISIONS))
        done = subprocess.run(servers.pinned(servers.PROXY_CORE, [*command, str(50 * DECISIONS)]), capture_output=True, text=True, check=True)
        made[f"{keys:,} consumers"] = {"instr.": (high - low) / DECISIONS, "ns": json.loads(done.stdout)["ns"]}
    return made
