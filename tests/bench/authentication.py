# SPDX-License-Identifier: Apache-2.0
"""What knowing the caller adds to a request: keys, tokens verified before, and tokens that must be verified."""
import itertools
import json
import re
import secrets
import socket
import statistics
import subprocess

import measure
import servers

ISSUER = "https://issuer.example"
AUDIENCE = "9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d"
KEYS = 100_000
FEW, MANY = 200, 1200       # requests of the two runs under callgrind
ROUND, ROUNDS = 1500, 5     # requests in a round whose CPU time is measured
MINTED = ROUND * (ROUNDS + 1)


class Guarded(servers.Postern):
    """Postern with one method of authentication; None: without the filter."""

    method = None

    def adjust(self, config):
        if self.method:
            config["filters"] = {"authenticate": {"methods": [self.method]}}
            config["listeners"][0]["filters"] = ["authenticate"]


class Case:
    """One line of the table: a name, a method and the credentials that callers show, in turn."""

    def __init__(self, name, method, credentials):
        self.name, self.credentials = name, credentials
        self.kind = type("Guarded", (Guarded,), {"name": f"postern-{name.replace(' ', '-').replace(',', '')}", "method": method})


def keys_file(folder, count):
    """A file with `count` keys, and the one of them that is known whole."""
    done = subprocess.run([servers.Postern.program, "key", "new", "bench"], capture_output=True, text=True, check=True)
    key, line = done.stdout.splitlines()
    path = folder / f"keys-{count}.yaml"
    others = "".join(f'- {{"id": "{secrets.token_hex(8)}", "digest": "hmac-sha256:{secrets.token_hex(32)}", "consumer": "c{i}"}}\n'
                     for i in range(count - 1))
    path.write_text(others + line + "\n")
    return path, key


def key_case(folder, name, count):
    path, key = keys_file(folder, count)
    return Case(name, {"api_keys": {"file": str(path)}}, [key])


def token_cases(folder, algorithm):
    """A token shown again and again, and tokens of which each is new."""
    done = subprocess.run([str(folder / "tokens"), algorithm, "mint", str(MINTED), ISSUER], capture_output=True, text=True, check=True)
    key_set, *tokens = done.stdout.splitlines()
    path = folder / f"jwks-{algorithm}.json"
    path.write_text(key_set)
    method = {"jwt": {"issuer": ISSUER, "audience": [AUDIENCE], "jwks_file": str(path), "consumer_claim": "azp", "groups_claim": "roles"}}
    return [Case(f"{algorithm}, seen before", method, tokens[:1]), Case(f"{algorithm}, new", method, tokens)]


def ask(port, body, credentials, count):
    """`count` requests, one after another, on one connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for credential in itertools.islice(credentials, count):
            head = (f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nAuthorization: Bearer {credential}"
                    f"\r\nContent-Length: {len(body)}\r\n\r\n")
            connection.sendall(head.encode() + body)
            got = b""
            while b"\r\n\r\n" not in got:
                got += receive(connection)
            end = got.index(b"\r\n\r\n") + 4
            if not got.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"bench auth: {got[:500]!r}")
            left = end + int(re.search(rb"(?i)\ncontent-length: *(\d+)", got).group(1)) - len(got)
            while left > 0:
                left -= len(receive(connection))


def receive(connection):
    data = connection.recv(65536)
    if not data:
        raise RuntimeError("bench auth: the connection ended")
    return data


def openssl_cost(folder, algorithm):
    """Instructions of one verification by OpenSSL alone."""
    low, high = (measure.program_instructions([str(folder / "tokens"), algorithm, "verify", str(n)], folder, "verify_once")
                 for n in (FEW, MANY))
    return (high - low) / (MANY - FEW)


def cpu_times(folder, cases, upstream, body):
    """CPU time per request, in rounds of all cases; medians."""
    running = {case.name: (case.kind(folder, upstream).start(), itertools.cycle(case.credentials)) for case in cases}
    found = {name: [] for name in running}
    try:
        for turn in range(ROUNDS + 1):
            for name, (server, credentials) in running.items():
                before = measure.cpu_microseconds(server)
                ask(server.h1, body, credentials, ROUND)
                if turn:
                    found[name].append((measure.cpu_microseconds(server) - before) / ROUND)
    finally:
        for server, _ in running.values():
            server.stop()
    return {name: statistics.median(values) for name, values in found.items()}


def instructions(folder, case, upstream, body):
    measure.note(f"callgrind: {case.name}")

    def run(count):
        return measure.instructions(lambda: case.kind(folder, upstream),
                                    lambda server: ask(server.h1, body, itertools.cycle(case.credentials), count))

    return (run(MANY) - run(FEW)) / (MANY - FEW)


def rows(folder, upstream, body):
    """{case: {column: value}}: whole requests, what each case adds to that without a filter, OpenSSL's own part."""
    measure.compile_tool(folder, "tokens", "-lcrypto")
    cases = [Case("no filter", None, ["bench"]), key_case(folder, "1 key", 1), key_case(folder, f"{KEYS:,} keys", KEYS),
             *token_cases(folder, "ES256"), *token_cases(folder, "RS256")]
    times = cpu_times(folder, cases, upstream, body)
    made = {case.name: {"instr.": instructions(folder, case, upstream, body), "CPU µs": times[case.name]} for case in cases}
    base = made["no filter"]
    for name, row in made.items():
        if row is not base:
            row.update({"adds instr.": row["instr."] - base["instr."], "adds µs": row["CPU µs"] - base["CPU µs"]})
    for algorithm in ("ES256", "RS256"):
        row = made[f"{algorithm}, new"]
        row["OpenSSL"] = openssl_cost(folder, algorithm)
        row["over it %"] = 100 * (row["adds instr."] / row["OpenSSL"] - 1)
    return made
