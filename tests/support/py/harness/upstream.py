# SPDX-License-Identifier: Apache-2.0
"""
An upstream that does exactly what a test says and keeps every byte it got. Each connection has a thread; a handler gets the request
and the connection and may answer, stall, cut or watch.
"""
import collections
import queue
import socket
import ssl
import threading

from . import wire

Received = collections.namedtuple("Received", "method target headers body raw connection")


class Connection(wire.Stream):
    """One accepted connection; `number` counts from 1."""

    def __init__(self, sock, number):
        super().__init__(sock)
        self.number = number

    def receive(self):
        """The next request, whole."""
        head = self.head()
        if "100-continue" in (head.get("expect") or ""):
            self.send("HTTP/1.1 100 Continue\r\n\r\n")
        if head.get("transfer-encoding"):
            body = self.chunked()
        else:
            body = self.exactly(int(head.get("content-length") or 0))
        return Received(head.method, head.target, head.headers, body, head.raw + body, self.number)

    def answer(self, status=200, body=b"", headers=(), content_type="application/json"):
        body = body.encode() if isinstance(body, str) else body
        self.start(status, [("content-type", content_type), ("content-length", str(len(body))), *headers])
        self.send(body)

    def start(self, status=200, headers=()):
        """A head as it stands in `headers`."""
        lines = [f"HTTP/1.1 {status} Because", *(f"{name}: {value}" for name, value in headers)]
        self.send("\r\n".join(lines) + "\r\n\r\n")

    def start_stream(self, headers=()):
        self.start(200, [("content-type", "text/event-stream; charset=utf-8"), ("transfer-encoding", "chunked"), *headers])

    def piece(self, data):
        """One chunk of a chunked body, in one write."""
        data = data.encode() if isinstance(data, str) else data
        self.send(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def end(self):
        self.send("0\r\n\r\n")


class Upstream:
    """
    Listens until close(). `handler(request, connection)` runs for each request on the connection's thread; when it raises,
    the error is kept and raised by close(), so that a broken script fails its test.
    """

    def __init__(self, handler, tls=None, port=0, host="127.0.0.1"):
        self.handler = handler
        self.tls = tls
        self.requests = []
        self.changed = threading.Condition()
        self.connections = []
        self.errors = queue.Queue()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.listener = socket.create_server((host, port), family=family)
        self.port = self.listener.getsockname()[1]
        self.url = f"http{'s' if tls else ''}://{f'[{host}]' if ':' in host else host}:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock, len(self.connections) + 1), daemon=True).start()
            with self.changed:
                self.connections.append(sock)
                self.changed.notify_all()

    def _serve(self, sock, number):
        try:
            if self.tls:
                sock = self.tls.wrap_socket(sock, server_side=True)
            connection = Connection(sock, number)
            # Idle connections wait as long as the test does.
            while True:
                sock.settimeout(None)
                if not connection.buffer:
                    connection.fill()
                sock.settimeout(wire.TIMEOUT)
                received = connection.receive()
                with self.changed:
                    self.requests.append(received)
                    self.changed.notify_all()
                self.handler(received, connection)
        except (wire.Closed, ConnectionError, ssl.SSLError):
            pass
        except OSError as error:
            if sock.fileno() != -1:
                self.errors.put(error)
        except Exception as error:  # pylint: disable=broad-except
            self.errors.put(error)
        finally:
            sock.close()

    def wait(self, count):
        """Waits until `count` requests have arrived and returns them."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.requests) >= count, wire.TIMEOUT), \
                f"{len(self.requests)} of {count} requests arrived"
            return list(self.requests)

    def close(self):
        self.listener.close()
        if not self.errors.empty():
            raise self.errors.get()


def refused_port():
    """A port on which nobody listens, kept so by a bound socket that the caller holds."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock, sock.getsockname()[1]
