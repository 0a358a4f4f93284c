# SPDX-License-Identifier: Apache-2.0
"""
`./dev bench [CASE ...]`: Postern beside nginx, HAProxy and nghttpx on this machine, runs interleaved, one table per case.

The proxy has one core, load generator and upstream another. Absolute times belong to this machine; ratios carry over. Instructions
(callgrind: the difference between a short and a long run) hardly vary even on a busy machine; CPU time per request comes second,
latencies last. Nothing is asserted.
"""
import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import authentication
import cache
import limits
import living
import measure
import servers

FOLDER = servers.ROOT / "build" / "bench"
ROUNDS = 5


class Bed:
    """An upstream and the proxies before it, for one case."""

    def __init__(self, tools, kinds=servers.PEERS, tls=False, started=True, **upstream):
        self.tools, self.kinds, self.tls, self.started, self.options = tools, kinds, tls, started, upstream
        self.children = []

    def __enter__(self):
        self.servers = []
        (self.port,) = servers.free_ports(1)
        self.children.append(self.tools.upstream(self.port, **self.options))
        try:
            to, ca = self._tls_front() if self.tls else (self.port, None)
            self.make = {kind.name: (lambda kind=kind: kind(FOLDER, to, ca)) for kind in self.kinds if kind(FOLDER, to, ca).available()}
            for make in self.make.values() if self.started else ():
                self.servers.append(make())
                self.servers[-1].start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _tls_front(self):
        """nginx as the TLS side of the upstream, on the load's core."""
        (port,) = servers.free_ports(1)
        certificate, key = FOLDER / "tls.crt", FOLDER / "tls.key"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                        "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
                       check=True, capture_output=True)
        config = FOLDER / "tls-front.conf"
        config.write_text(f"""
worker_processes 1; daemon off; master_process off; pid {FOLDER}/front.pid; error_log {FOLDER}/front.log;
events {{ worker_connections 4096; }}
http {{ access_log off; client_body_temp_path {FOLDER}/fb; client_body_buffer_size 2m; keepalive_requests 100000000;
  proxy_temp_path {FOLDER}/fp; fastcgi_temp_path {FOLDER}/ff; uwsgi_temp_path {FOLDER}/fu; scgi_temp_path {FOLDER}/fs;
  upstream u {{ server 127.0.0.1:{self.port}; keepalive 64; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{port} ssl backlog=16384; ssl_certificate {certificate}; ssl_certificate_key {key};
    location / {{ proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; }} }} }}
""")
        command = servers.pinned(servers.LOAD_CORE, ["nginx", "-c", str(config), "-e", f"{FOLDER}/front.log"])
        self.children.append(subprocess.Popen(command))
        return port, str(certificate)

    def __exit__(self, *_):
        for server in self.servers:
            server.stop()
        for child in self.children:
            child.terminate()
            child.wait()


def body(name, **content):
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps(content, separators=(",", ":")))
    return path


def chat(name, size, begin="", **more):
    """A chat request of `size` bytes."""
    empty = {"model": "gpt-4o", **more, "messages": [{"role": "user", "content": begin}]}
    fill = size - len(json.dumps(empty, separators=(",", ":")))
    return body(name, **{**empty, "messages": [{"role": "user", "content": begin + "Tell me more. " * (fill // 14) + "." * (fill % 14)}]})


def table(title, rows, columns):
    """`rows`: {server: {column: value}}; Postern's figures also as a ratio to the best of the others."""
    print(f"\n{title}")
    widths = {column: max(len(column), 10) for column in columns}
    print(f"  {'':16}" + "".join(f"{column:>{widths[column] + 2}}" for column in columns))
    for name, row in rows.items():
        cells = "".join(f"{row[column]:>{widths[column] + 2},.1f}" if column in row else f"{'-':>{widths[column] + 2}}" for column in columns)
        print(f"  {name:16}{cells}")
    ours = rows.get("postern", {})
    for peer in (name for name in rows if ours and name not in ("postern", "direct")):
        cells = "".join(f"{ours[column] / rows[peer][column]:>{widths[column] + 2}.2f}"
                        if ours.get(column) and rows[peer].get(column) else f"{'':>{widths[column] + 2}}" for column in columns)
        print(f"  {'postern/' + peer:16}{cells}")


def interleaved(bed, run, rounds=ROUNDS):
    """run(server) -> {column: value}, once per server and round; medians."""
    found = {server.name: [] for server in bed.servers}
    for server in bed.servers:
        run(server)
    for _ in range(rounds):
        for server in bed.servers:
            found[server.name].append(run(server))
    return {name: {column: statistics.median(result[column] for result in results) for column in results[0]}
            for name, results in found.items()}


def costed(server, drive, per):
    """Runs drive() and adds CPU time over its `per` figure."""
    before = measure.cpu_microseconds(server)
    result = drive()
    result["cpu"] = (measure.cpu_microseconds(server) - before) / result[per]
    return result


def h1_case(tools, title, file, size, connections, requests, tls=False, calls=False):
    with Bed(tools, size=size, tls=tls) as bed:
        def run(server):
            result = costed(server, lambda: tools.load(server.h1, file, connections, requests), "requests")
            return {"CPU µs": result["cpu"], "req/s": result["requests"] / result["seconds"], "p50 µs": result["p50"], "p99 µs": result["p99"]}

        rows = interleaved(bed, run)
        if calls:
            for server in bed.servers:
                command = tools.load_command(server.h1, file, connections, requests)
                rows[server.name]["sys calls"] = measure.system_calls(server, command, FOLDER) / requests
        if not tls:
            result = tools.load(bed.port, file, connections, requests)
            rows["direct"] = {"req/s": result["requests"] / result["seconds"], "p50 µs": result["p50"], "p99 µs": result["p99"]}
    table(title, rows, ["CPU µs", "req/s", "p50 µs", "p99 µs"] + ["sys calls"] * calls)


def case_json(tools):
    h1_case(tools, "JSON, 2 KB in, 1.1 KB out, HTTP/1.1, 32 connections: per request", chat("json", 2048), 1100, 32, 20000, calls=True)


def case_latency(tools):
    """One request at a time: what the proxy adds to a request that waits for nobody."""
    h1_case(tools, "the same, one connection: latency", chat("json", 2048), 1100, 1, 5000)


def case_body100k(tools):
    h1_case(tools, "JSON, 100 KB each way, HTTP/1.1, 8 connections: per request", chat("100k", 100_000), 100_000, 8, 3000)


def case_body1m(tools):
    h1_case(tools, "JSON, 1 MB each way, HTTP/1.1, 4 connections: per request", chat("1m", 1_000_000), 1_000_000, 4, 400)


def case_tls(tools):
    h1_case(tools, "JSON, 2 KB in, 1.1 KB out, upstream over TLS, 32 connections: per request", chat("json", 2048), 1100, 32, 10000, tls=True)


def case_h2c(tools):
    file = chat("json", 2048)
    with Bed(tools, size=1100) as bed:
        def run(server):
            result = costed(server, lambda: tools.h2load(server.h2c, file, 8, 16, 20000), "requests")
            return {"CPU µs": result["cpu"], "req/s": result["requests"] / result["seconds"]}

        table("JSON, 2 KB in, 1.1 KB out, client on h2c, 8 connections x 16 streams: per request", interleaved(bed, run), ["CPU µs", "req/s"])


def case_sse(tools):
    file = chat("stream", 512, stream=True)
    with Bed(tools, chunks=150, interval=20) as bed:
        def run(server):
            result = costed(server, lambda: tools.load(server.h1, file, 1000, 1000), "events")
            return {"CPU µs": result["cpu"], "p50 µs": result["event_p50"], "p99 µs": result["event_p99"]}

        rows = interleaved(bed, run, rounds=3)
        direct = tools.load(bed.port, file, 1000, 1000)
        rows["direct"] = {"p50 µs": direct["event_p50"], "p99 µs": direct["event_p99"]}
    table("SSE, 1,000 streams, a chunk each 20 ms: per chunk", rows, ["CPU µs", "p50 µs", "p99 µs"])


def case_streams(tools):
    file, streams = chat("stream", 512, stream=True), min(9000, servers.CONNECTIONS - 100)
    rows = {}
    with Bed(tools, chunks=1000, interval=4000) as bed:
        for server in bed.servers:
            idle = measure.memory_kib(server)
            child = tools.hold(server.h1, file, streams)
            rows[server.name] = {"KiB/stream": (measure.memory_kib(server) - idle) / streams}
            child.stdin.close()
            child.wait()
    table(f"memory: {streams:,} SSE streams open at once", rows, ["KiB/stream"])


def case_start(tools):
    rows = {}
    with Bed(tools, started=False) as bed:
        for name, make in bed.make.items():
            times, server = [], make()
            for _ in range(15):
                begun = time.monotonic()
                server.start(wait=False)
                while not server.listens():
                    if server.child.poll() is not None:
                        server.wait()
                times.append((time.monotonic() - begun) * 1000)
                time.sleep(0.3)
                memory = measure.memory_kib(server) / 1024
                server.stop()
            rows[name] = {"start ms": statistics.median(times), "idle MiB": memory}
    table("exec to ready, and memory when idle", rows, ["start ms", "idle MiB"])


def difference(bed, drive, few=200, many=2200):
    """Instructions per unit: two runs of different length, so that the start does not count."""
    rows = {}
    for name, make in bed.make.items():
        measure.note(f"callgrind: {name}")
        low, high = (measure.instructions(make, lambda server, n=n: drive(server, n)) for n in (few, many))
        rows[name] = {"instr.": (high - low) / (many - few)}
    return rows


def case_instructions(tools):
    file, stream = chat("json", 2048), chat("stream", 512, stream=True)
    with Bed(tools, started=False, size=1100) as bed:
        rows = difference(bed, lambda server, n: tools.load(server.h1, file, 1, n))
        over_h2c = difference(bed, lambda server, n: tools.h2load(server.h2c, file, 1, 1, n))
    for name, row in over_h2c.items():
        rows[name]["over h2c"] = row["instr."]
    with Bed(tools, started=False, chunks=200, interval=2) as few, Bed(tools, started=False, chunks=2200, interval=2) as many:
        for name in few.make:
            measure.note(f"callgrind, stream: {name}")
            low = measure.instructions(few.make[name], lambda server: tools.load(server.h1, stream, 1, 1))
            high = measure.instructions(many.make[name], lambda server: tools.load(server.h1, stream, 1, 1))
            rows[name]["SSE chunk"] = (high - low) / 2000
    table("user-space instructions (callgrind): per JSON request, per SSE chunk", rows, ["instr.", "over h2c", "SSE chunk"])


def case_auth(tools):
    """What knowing the caller adds to a JSON request."""
    file = chat("json", 2048)
    with Bed(tools, kinds=(servers.Postern,), started=False, size=1100) as bed:
        rows = authentication.rows(FOLDER, bed.port, file.read_bytes())
    columns = ["instr.", "adds instr.", "OpenSSL", "over it %", "CPU µs", "adds µs"]
    table("authentication: user-space instructions (callgrind) and CPU time per JSON request, what it adds, OpenSSL's part", rows, columns)


def case_living(tools):
    """A configuration that changes, and an end, under load."""
    with Bed(tools, kinds=(), size=1100, chunks=2000, interval=100) as bed:
        living.run(FOLDER, bed.port)


def case_limits(tools):
    """What limits add to a JSON request."""
    file = chat("json", 2048)
    with Bed(tools, kinds=(servers.Postern,), started=False, size=1100) as bed:
        rows = limits.rows(tools, FOLDER, bed.port, file)
    columns = ["instr.", "adds instr.", "CPU µs", "adds µs", "Redis µs", "requests/s", "per core %", "here %"]
    table("limits: user-space instructions (callgrind) and CPU time per JSON request at 64 connections, what they add; throughput of a core, of "
          "this machine", rows, columns)
    table("limits: one decision of the memory store", limits.consumers(FOLDER), ["instr.", "ns"])


def case_cache(tools):
    """What an answer that is kept costs, beside nginx's; what one that is not adds."""
    file = chat("cache", 2048, "Question 00000000. ", temperature=0)
    files = {"JSON": file, "stream": body("cache-stream", **json.loads(file.read_text()), stream=True)}
    with Bed(tools, kinds=(cache.Keeping, cache.NginxKeeping), size=2048, chunks=50, interval=1) as bed:
        table("kept answers from memory, 2 KB in, 32 connections: CPU µs per request; 2 KB of JSON, its 50 events, and as events what came as JSON",
              interleaved(bed, lambda server: cache.hits(tools, server, files, costed)), cache.HIT_COLUMNS)
    with Bed(tools, kinds=cache.LEVELS, size=2048) as bed:
        columns, rows = cache.levels(tools, bed, files["JSON"], costed, interleaved)
    table(f"where answers of 2 KB come from, {cache.ENTRIES:,} of them in turn, 32 connections: CPU µs per request", rows, columns)
    with Bed(tools, kinds=(cache.Passing, cache.Keeping, cache.NginxKeeping), started=False, size=2048) as bed:
        rows = cache.instructions(tools, bed, files)
    table("user-space instructions (callgrind, which has no SHA instructions) per request", rows, ["instr.", "OpenSSL", "others", "adds"])


CASES = {name[len("case_"):]: function for name, function in list(globals().items()) if name.startswith("case_")}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; default: all")
    names = parser.parse_args().cases or list(CASES)
    for name in names:
        if name not in CASES:
            parser.error(f"no case {name!r}: {', '.join(CASES)}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    resource.setrlimit(resource.RLIMIT_NOFILE, (servers.FILES, servers.FILES))
    tools = measure.Tools(FOLDER)
    failed = 0
    for name in names:
        try:
            CASES[name](tools)
        except RuntimeError as error:
            failed += 1
            print(f"\n{name}: {error}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    sys.exit(main())
