# SPDX-License-Identifier: Apache-2.0
"""
HTTP/1.1 on a plain socket, byte by byte, for both ends of a test. Everything waits for an event with TIMEOUT as the bound after
which a test has failed; nothing sleeps.
"""
import socket
import struct

TIMEOUT = 30


class Closed(Exception):
    """The peer ended the connection where more was due."""


class Message:
    """One message as it arrived. `raw` is its head, byte for byte; names in `headers` are lower case."""

    def __init__(self, raw):
        self.raw = raw
        lines = raw.decode("latin-1").split("\r\n")
        self.start = lines[0]
        self.headers = []
        for line in filter(None, lines[1:]):
            name, _, value = line.partition(":")
            self.headers.append((name.lower(), value.strip()))
        self.body = b""
        self.trailers = []
        parts = self.start.split(" ", 2)
        if self.start.startswith("HTTP/"):
            self.status, self.reason = int(parts[1]), parts[2] if len(parts) > 2 else ""
        else:
            self.method, self.target = parts[0], parts[1]

    def get(self, name, default=None):
        """The one value of a field; a repeated one is a failed test."""
        found = [value for have, value in self.headers if have == name]
        assert len(found) <= 1, f"{name} is there {len(found)} times"
        return found[0] if found else default

    def names(self):
        return [name for name, _ in self.headers]


class Stream:
    """A buffered socket that reads what HTTP is made of."""

    def __init__(self, sock):
        self.sock = sock
        sock.settimeout(TIMEOUT)
        self.buffer = b""

    def fill(self):
        try:
            data = self.sock.recv(65536)
        except ConnectionResetError as error:
            raise Closed("reset") from error
        if not data:
            raise Closed(f"end of file after {self.buffer!r}")
        self.buffer += data

    def until(self, mark):
        while mark not in self.buffer:
            self.fill()
        taken, self.buffer = self.buffer.split(mark, 1)
        return taken + mark

    def exactly(self, size):
        """Pieces are put together once: a large body would otherwise be copied with each of them."""
        pieces, have = [], 0
        try:
            while have + len(self.buffer) < size:
                pieces.append(self.buffer)
                have, self.buffer = have + len(self.buffer), b""
                self.fill()
        finally:
            self.buffer = b"".join([*pieces, self.buffer])
        taken, self.buffer = self.buffer[:size], self.buffer[size:]
        return taken

    def head(self):
        return Message(self.until(b"\r\n\r\n"))

    def chunk(self):
        """The next piece of a chunked body; b"" is its end, with the trailers read."""
        size = int(self.until(b"\r\n").split(b";")[0], 16)
        data = self.exactly(size) if size else b""
        if size:
            assert self.exactly(2) == b"\r\n"
        else:
            while self.until(b"\r\n") != b"\r\n":
                pass
        return data

    def chunked(self):
        body = b""
        while piece := self.chunk():
            body += piece
        return body

    def to_end(self):
        """Everything until the peer ends the connection."""
        try:
            while True:
                self.fill()
        except Closed:
            pass
        taken, self.buffer = self.buffer, b""
        return taken

    def send(self, data):
        self.sock.sendall(data.encode() if isinstance(data, str) else data)

    def is_closed(self):
        """Waits for the peer's end of the connection; False when it sends something instead."""
        if self.buffer:
            return False
        try:
            return self.sock.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self):
        self.sock.close()

    def reset(self):
        """Ends with RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def request(method, target, body=b"", headers=(), host="127.0.0.1"):
    """The bytes of a request; a body brings its length, JSON as its type unless `headers` say otherwise."""
    body = body.encode() if isinstance(body, str) else body
    names = [name.lower() for name, _ in headers]
    lines = [f"{method} {target} HTTP/1.1", f"host: {host}"]
    if body and "content-type" not in names:
        lines.append("content-type: application/json")
    if (body or method == "POST") and "content-length" not in names and "transfer-encoding" not in names:
        lines.append(f"content-length: {len(body)}")
    lines += [f"{name}: {value}" for name, value in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


class Client(Stream):
    """A client that owns one connection."""

    def __init__(self, port, host="127.0.0.1"):
        super().__init__(socket.create_connection((host, port), timeout=TIMEOUT))

    def ask(self, method, target, body=b"", headers=()):
        self.send(request(method, target, body, headers))
        return self.answer(method)

    def answer(self, method="GET"):
        """One whole answer; interim ones (1xx) are passed over."""
        message = self.head()
        while 100 <= message.status < 200:
            message = self.head()
        if method == "HEAD" or message.status in (204, 304):
            return message
        if message.get("transfer-encoding") == "chunked":
            message.body = self.chunked()
        elif message.get("content-length") is not None:
            message.body = self.exactly(int(message.get("content-length")))
        else:
            message.body = self.to_end()
        return message
