# SPDX-License-Identifier: Apache-2.0
"""Processes that a test owns: started, watched until they serve, ended by their id, and held to a clean end."""
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import threading

from . import wire

# Planted by tests; none may ever appear in what a gateway writes.
CANARY_CLIENT_KEY = "sk-canary-client-7f3a91"
CANARY_TARGET_KEY = "canary-target-key-55d0c2"
CANARY_PROMPT = "canary prompt 0a4be7"
CANARY_ANSWER = "canary answer 91cc3d"
CANARIES = (CANARY_CLIENT_KEY, CANARY_TARGET_KEY, CANARY_PROMPT, CANARY_ANSWER)

FINDING = re.compile(r"Sanitizer|runtime error:")


# Each of the suite's parallel workers has a range of its own and goes through it in turn, so that no port is given out twice.
PORTS_PER_WORKER = 2500
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw") or 0) % 8
_next_port = random.randrange(PORTS_PER_WORKER)


def free_port():
    """A port below those the kernel gives to outgoing connections, free a moment ago and not given out before."""
    global _next_port
    while True:
        _next_port = (_next_port + 1) % PORTS_PER_WORKER
        port = 10000 + _worker * PORTS_PER_WORKER + _next_port
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


class Process:
    """A child whose standard error is read as it comes."""

    def __init__(self, command, env=None, cwd=None):
        self.command = [str(part) for part in command]
        self.child = subprocess.Popen(self.command, env={**os.environ, **(env or {})}, cwd=cwd, stdin=subprocess.DEVNULL,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.stdout, self.stderr = [], []
        self.told_to_end = False
        self.changed = threading.Condition()
        self.readers = [threading.Thread(target=self._read, args=pair, daemon=True)
                        for pair in ((self.child.stdout, self.stdout), (self.child.stderr, self.stderr))]
        for reader in self.readers:
            reader.start()

    def _read(self, pipe, lines):
        for line in pipe:
            with self.changed:
                lines.append(line.decode(errors="replace"))
                self.changed.notify_all()
        with self.changed:
            self.changed.notify_all()

    def output(self):
        return "".join(self.stdout) + "".join(self.stderr)

    def wait_line(self, pattern):
        """Waits for a line on either stream that the pattern is found in, and returns the match."""
        def found():
            return next(filter(None, (re.search(pattern, line) for line in self.stdout + self.stderr)), None)

        with self.changed:
            self.changed.wait_for(lambda: found() or not any(reader.is_alive() for reader in self.readers), wire.TIMEOUT)
            assert found(), f"no line {pattern!r}:\n{self.output()}"
            return found()

    def wait_until(self, probe):
        """Asks probe() whenever the child says something, and a few times a second besides, until it is true."""
        tries = wire.TIMEOUT * 50
        while not probe():
            tries -= 1
            if self.child.poll() is not None or tries == 0:
                self.finish(kill=True)
                raise AssertionError(f"{' '.join(self.command)} does not serve (ended with {self.child.returncode}):\n{self.output()}")
            with self.changed:
                self.changed.wait(0.02)

    def signal(self, number):
        self.told_to_end |= number == signal.SIGTERM
        self.child.send_signal(number)

    def finish(self, kill=False):
        """Waits for the end (asking with SIGKILL when told to) and returns the exit code."""
        if kill and self.child.poll() is None:
            self.child.kill()
        code = self.child.wait(wire.TIMEOUT)
        for reader in self.readers:
            reader.join(wire.TIMEOUT)
        self.child.stdout.close()
        self.child.stderr.close()
        return code

    def stop(self):
        """SIGTERM, then a clean end is due: exit code 0 and no finding of a sanitizer."""
        if self.child.poll() is None and not self.told_to_end:
            self.signal(signal.SIGTERM)
        try:
            code = self.finish()
        except subprocess.TimeoutExpired:
            self.finish(kill=True)
            raise AssertionError(f"does not end on SIGTERM:\n{self.output()}") from None
        assert not FINDING.search(self.output()), self.output()
        assert code == 0, f"exit code {code}:\n{self.output()}"


def binary():
    return os.environ["POSTERN_BINARY"]


def postern(*arguments, **options):
    """Runs the binary to its end; returns the finished process with text output."""
    done = subprocess.run([binary(), *map(str, arguments)], capture_output=True, text=True, timeout=wire.TIMEOUT, **options)
    assert not FINDING.search(done.stderr), done.stderr
    return done


class Gateway(Process):
    """
    `postern run` with a configuration of its own. Ports and the access log are added to what the test gives; `listener` and `admin` in
    it are merged into the one listener and the admin address. `port` takes data, `admin` is the admin address's port. With `mount`
    the configuration lies in a mounted ConfigMap.
    """

    def __init__(self, folder, config, env=None, mount=None):
        self.port, self.admin = free_port(), free_port()
        self.access_path = folder / f"access-{self.port}.log"
        self.config_path = folder / f"postern-{self.port}.yaml"
        self.base_url = f"http://127.0.0.1:{self.port}"
        self.stopped = False
        whole = {
            "apiVersion": "postern/v1",
            "listeners": [{"address": f"127.0.0.1:{self.port}", **config.get("listener", {})}],
            "admin": {"address": f"127.0.0.1:{self.admin}", **config.get("admin", {})},
            "drain": {"delay": "0s", "grace": "5s"},
            "log": {"access": str(self.access_path)},
            **{name: value for name, value in config.items() if name not in ("listener", "admin")},
        }
        # JSON is YAML; nothing here needs more.
        self.config_text = json.dumps(whole, indent=1)
        self.mount = mount
        if mount:
            mount.swap({"postern.yaml": self.config_text})
            self.config_path = mount.folder
        else:
            self.config_path.write_text(self.config_text)
        wrap = os.environ.get("POSTERN_WRAP", "").split()
        super().__init__([*wrap, binary(), "run", "--config", self.config_path], env=env)
        self.wait_until(lambda: self.probe("/readyz") == 200)

    def probe(self, path):
        """Status of a GET on the admin address, 0 when nobody answers."""
        try:
            return self.admin_get(path)[0]
        except OSError:
            return 0

    def admin_get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=wire.TIMEOUT)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def metrics(self):
        status, text = self.admin_get("/metrics")
        assert status == 200
        return text

    def client(self):
        return wire.Client(self.port)

    def access(self, count):
        """Waits for `count` lines of the access log and returns them parsed."""
        def lines():
            return self.access_path.read_text().splitlines() if self.access_path.exists() else []

        self.wait_until(lambda: len(lines()) >= count)
        return [json.loads(line) for line in lines()]

    def stop(self):
        """A clean end, and nothing of what tests plant in anything written."""
        if self.stopped:
            return
        self.stopped = True
        metrics = self.metrics() if self.child.poll() is None and self.probe("/metrics") == 200 else ""
        super().stop()
        written = {"metrics": metrics, "standard output": "".join(self.stdout), "standard error": "".join(self.stderr),
                   "access log": self.access_path.read_text() if self.access_path.exists() else ""}
        for where, text in written.items():
            for canary in CANARIES:
                assert canary not in text, f"{canary!r} in {where}:\n{text}"


class Mock(Process):
    """`postern mock` on a port of its own."""

    def __init__(self, *options):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        super().__init__([binary(), "mock", "--port", self.port, *options])
        self.wait_until(self.serves)

    def serves(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=wire.TIMEOUT).close()
            return True
        except OSError:
            return False
