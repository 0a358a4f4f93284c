# SPDX-License-Identifier: Apache-2.0
"""A Redis server of a test's own, and a connection that asks it or listens to all that is asked of it."""
import shutil
import socket
import threading

from . import process, wire


def is_there():
    return shutil.which("redis-server") is not None


class Server(process.Process):
    def __init__(self, folder, *options):
        self.port = process.free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        super().__init__(["redis-server", "--port", self.port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder,
                          *options])
        self.wait_until(self.serves)

    def serves(self):
        try:
            with Connection(self.port) as connection:
                return connection.ask("PING") == "PONG"
        except (OSError, EOFError):
            return False


class Connection:
    """Commands and their answers, one after another."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=wire.TIMEOUT)
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()
        self.socket.close()

    def send(self, *words):
        parts = [str(word).encode() for word in words]
        self.socket.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))

    def ask(self, *words):
        self.send(*words)
        return self.read()

    def read(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise EOFError("the connection ended")
        kind, text = line[:1], line[1:-2].decode(errors="replace")
        if kind == b"-":
            raise RuntimeError(text)
        if kind == b"$":
            return None if text == "-1" else self.file.read(int(text) + 2)[:-2].decode(errors="replace")
        if kind == b"*":
            return [self.read() for _ in range(int(text))]
        return int(text) if kind == b":" else text


class Monitor:
    """All commands as the server carries them out, those of scripts too: (seconds by its clock, words)."""

    def __init__(self, port):
        self.connection = Connection(port)
        assert self.connection.ask("MONITOR") == "OK"
        self.lines = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        try:
            for line in self.connection.file:
                self.lines.append(line)
        except (OSError, ValueError):
            pass

    def stop(self):
        """The end of the log: all commands until now are in it."""
        self.connection.socket.shutdown(socket.SHUT_RDWR)
        self.reader.join(wire.TIMEOUT)
        self.connection.__exit__()
        found = []
        for line in self.lines:
            time, _, rest = line.decode(errors="replace").lstrip("+").partition(" [")
            words = rest.partition("] ")[2].strip()
            found.append((float(time), words[1:-1].split('" "')))
        return found
