# SPDX-License-Identifier: Apache-2.0
"""An HTTP CONNECT proxy that keeps what it was asked and sends every tunnel to where the test says."""
import socket
import threading

from . import wire


class ConnectProxy:
    """`routes` maps HOST:PORT to a port here; whatever is not in it is refused with `refusal`."""

    def __init__(self, routes, refusal=403):
        self.routes, self.refusal = routes, refusal
        self.asked = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.sockets = [self.listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.sockets.append(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        client = wire.Stream(sock)
        try:
            head = client.head()
            self.asked.append(head)
            port = self.routes.get(head.target) if head.method == "CONNECT" else None
            if port is None:
                client.send(f"HTTP/1.1 {self.refusal} Refused\r\ncontent-length: 0\r\n\r\n")
                sock.close()
                return
            beyond = socket.create_connection(("127.0.0.1", port), wire.TIMEOUT)
            self.sockets.append(beyond)
            client.send("HTTP/1.1 200 Established\r\n\r\n")
            threading.Thread(target=self._pump, args=(beyond, sock), daemon=True).start()
            beyond.sendall(client.buffer)
            self._pump(sock, beyond)
        except (OSError, wire.Closed):
            sock.close()

    @staticmethod
    def _pump(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        for sock in (source, sink):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        for sock in self.sockets:
            sock.close()
