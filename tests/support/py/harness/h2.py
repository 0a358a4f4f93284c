# SPDX-License-Identifier: Apache-2.0
"""
HTTP/2 frame by frame, for both ends of a test (RFC 9113). Heads are sent as literals without compression (RFC 7541 6.2.2); of heads that
arrive only the first octet is looked at, which tells 200 from everything else. Everything waits with wire.TIMEOUT as the bound.
"""
import collections
import socket
import ssl
import threading

from . import wire

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
ACK, END_STREAM, END_HEADERS = 1, 1, 4
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM = 0, 1, 2, 7, 8, 11
INITIAL_WINDOW_SIZE = 4
STATUS_200 = 0x88

Frame = collections.namedtuple("Frame", "kind flags stream payload")


def number(value):
    return value.to_bytes(4, "big")


def frame(kind, flags=0, stream=0, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + number(stream) + payload


def reset(stream, code):
    return frame(RST_STREAM, 0, stream, number(code))


def window(stream, size):
    return frame(WINDOW_UPDATE, 0, stream, number(size))


def setting(name, value):
    return name.to_bytes(2, "big") + number(value)


def _text(value):
    raw, length = value.encode(), b""
    rest = len(raw) - 127
    if rest < 0:
        return bytes([len(raw)]) + raw
    while rest >= 128:
        length += bytes([rest % 128 + 128])
        rest //= 128
    return b"\x7f" + length + bytes([rest]) + raw


def fields(*pairs):
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in pairs)


def request(method, path, *more):
    return fields((":method", method), (":scheme", "http"), (":authority", "x"), (":path", path), *more)


def response(status, *more):
    return fields((":status", str(status)), *more)


class Stream(wire.Stream):
    """One connection, either end. PING and SETTINGS are acknowledged while `polite`."""

    polite = True

    def next(self):
        """The next frame; wire.Closed at the end."""
        head = self.exactly(9)
        got = Frame(head[3], head[4], int.from_bytes(head[5:9], "big"), self.exactly(int.from_bytes(head[:3], "big")))
        if self.polite and got.kind in (SETTINGS, PING) and not got.flags & ACK:
            self.send(frame(got.kind, ACK, 0, got.payload if got.kind == PING else b""))
        return got

    def frames_to(self, kind, stream=None, flags=0):
        """Frames up to the first of that kind, stream and flags."""
        frames = []
        while True:
            frames.append(self.next())
            last = frames[-1]
            if last.kind == kind and (stream is None or last.stream == stream) and last.flags & flags == flags:
                return frames

    def to_close(self):
        frames = []
        while True:
            try:
                frames.append(self.next())
            except (wire.Closed, ConnectionError):
                return frames


class Client(Stream):
    """A client with prior knowledge, or on a connection that was made for it."""

    def __init__(self, port, settings=b"", sock=None):
        super().__init__(sock or socket.create_connection(("127.0.0.1", port), wire.TIMEOUT))
        self.send(PREFACE + frame(SETTINGS, 0, 0, settings))

    def ask(self, stream, body, *more, path="/v1/chat/completions", end=True):
        body = body.encode() if isinstance(body, str) else body
        head = request("POST", path, ("content-type", "application/json"), *more)
        self.send(frame(HEADERS, END_HEADERS, stream, head) + frame(DATA, END_STREAM if end else 0, stream, body))

    def get(self, stream, path, *more):
        self.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, request("GET", path, *more)))

    def answer(self, stream):
        """Whether the status is 200, and the body, of an answer that ends well."""
        frames = [one for one in self.frames_to(DATA, stream, END_STREAM) if one.stream == stream]
        heads = [one for one in frames if one.kind == HEADERS]
        assert heads, frames
        return heads[-1].payload[0] == STATUS_200, b"".join(one.payload for one in frames if one.kind == DATA)

    def answer_rest(self, stream):
        """The bytes that are still to come of an answer."""
        return b"".join(one.payload for one in self.frames_to(DATA, stream, END_STREAM) if one.kind == DATA and one.stream == stream)


class Upstream:
    """Listens until close(). `handler(connection, stream)` runs for each whole request, on its connection's thread."""

    def __init__(self, handler, settings=b"", tls=None):
        self.handler, self.settings, self.tls = handler, settings, tls
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.listener.getsockname()[1]}"
        self.errors, self.seen, self.connections = [], [], []
        self.changed = threading.Condition()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
                if self.tls:
                    sock.settimeout(wire.TIMEOUT)
                    sock = self.tls.wrap_socket(sock, server_side=True)
            except ssl.SSLError:
                continue
            except OSError:
                return
            connection = Stream(sock)
            connection.number = len(self.connections) + 1
            self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        try:
            assert connection.exactly(len(PREFACE)) == PREFACE
            connection.send(frame(SETTINGS, 0, 0, self.settings))
            while True:
                got = connection.next()
                with self.changed:
                    self.seen.append((connection.number, got))
                    self.changed.notify_all()
                if got.kind in (HEADERS, DATA) and got.flags & END_STREAM:
                    self.handler(connection, got.stream)
        except (wire.Closed, OSError):
            pass
        except Exception as error:  # a broken script fails its test
            self.errors.append(error)

    def wait(self, kind, code=None):
        """Waits for a frame of that kind from the gateway; `code` is that of RST_STREAM."""
        def found():
            return [one for _, one in self.seen if one.kind == kind and (code is None or one.payload == number(code))]

        with self.changed:
            assert self.changed.wait_for(found, wire.TIMEOUT), self.seen
            return found()[0]

    def close(self):
        self.listener.close()
        for connection in self.connections:
            connection.close()
        for error in self.errors:
            raise error
