# SPDX-License-Identifier: Apache-2.0
"""
Clients that leave at any moment and targets that break in every way, all at once. What holds afterwards: nothing is left over, nobody
crashed, and a plain request is served. The seed is printed; set POSTERN_SEED to repeat one.
"""
import json
import os
import random
import re
import threading

import pytest
from harness import answers, h2, wire

CHAT = "/v1/chat/completions"
CLIENTS, ROUNDS = 8, 25
SEED = int(os.environ.get("POSTERN_SEED", random.randrange(1 << 30)))


def unreliable(seed):
    """A handler that does something else each time; the prompt `calm` gets a plain answer."""
    chance, lock = random.Random(seed), threading.Lock()

    def whole(connection):
        connection.answer(200, answers.chat("word " * 50))

    def stream(connection, upto=None, then="end"):
        connection.start_stream()
        for event in answers.chat_stream([f"w{number} " for number in range(20)])[:upto]:
            connection.piece(event)
        getattr(connection, then)()

    doings = [
        whole, stream, stream,
        lambda connection: stream(connection, 3, "close"),
        lambda connection: stream(connection, 1, "reset"),
        lambda connection: connection.close(),
        lambda connection: connection.reset(),
        lambda connection: connection.answer(500, answers.error()),
        lambda connection: connection.answer(429, answers.error(), [("retry-after-ms", "1")]),
        lambda connection: connection.send(b"HTTP/1.1 garbage\r\n\r\n"),
        lambda connection: (connection.start(200, [("content-type", "application/json"), ("content-length", "9")]), connection.reset()),
        lambda connection: connection.is_closed(),
    ]

    def handle(received, connection):
        if b"calm" in received.body:
            whole(connection)
            return
        with lock:
            doing = chance.choice(doings)
        try:
            doing(connection)
        except OSError:
            raise wire.Closed("the gateway left") from None

    return handle


class Restless:
    """A client that does one thing after another until its rounds are over."""

    def __init__(self, running, seed):
        self.running, self.chance = running, random.Random(seed)

    def body(self):
        return answers.ask(stream=self.chance.random() < 0.7, text="x" * self.chance.choice([1, 100, 50_000, 400_000]))

    def leave(self, client):
        if self.chance.random() < 0.5:
            client.reset()
        else:
            client.close()

    def cut_short(self):
        """Leaves after some bytes of a request."""
        client = self.running.client()
        request = wire.request("POST", CHAT, self.body())
        client.send(request[:self.chance.randrange(len(request))])
        self.leave(client)

    def impatient(self):
        """Sends all, reads a little, leaves."""
        client = self.running.client()
        client.send(wire.request("POST", CHAT, self.body()) * self.chance.choice([1, 1, 3]))
        client.sock.settimeout(self.chance.choice([0.001, 0.02, 0.2]))
        for _ in range(self.chance.randrange(3)):
            client.fill()
        self.leave(client)

    def several_streams(self):
        """Over HTTP/2: opens, resets and leaves in any order."""
        with h2.Client(self.running.port) as client:
            for number in range(self.chance.randrange(1, 8)):
                stream = 2 * number + 1
                client.ask(stream, self.body()[:16000], end=self.chance.random() < 0.8)
                if self.chance.random() < 0.4:
                    client.send(h2.reset(stream, h2.CANCEL))
            client.sock.settimeout(self.chance.choice([0.001, 0.05]))
            for _ in range(self.chance.randrange(6)):
                client.next()
            if self.chance.random() < 0.5:
                client.reset()

    def calm(self):
        with self.running.client() as client:
            assert client.ask("POST", CHAT, answers.ask(text="calm")).status >= 200

    def run(self):
        doings = [self.cut_short, self.impatient, self.impatient, self.several_streams, self.several_streams, self.calm]
        for _ in range(ROUNDS):
            try:
                self.chance.choice(doings)()
            except (OSError, wire.Closed):
                pass


def left_over(metrics):
    """What must be zero once everybody has gone."""
    names = ("postern_exchanges", "postern_held_bytes", "postern_pool_waiting")
    found = {line: float(line.rsplit(" ", 1)[1]) for line in metrics.splitlines()
             if line.startswith(names) or re.match(r'postern_pool_connections\{.*state="(busy|connecting)"', line)}
    # The request for this page is an exchange, too.
    return {line: value for line, value in found.items() if value > (1 if line.startswith("postern_exchanges") else 0)}


@pytest.mark.workers
@pytest.mark.parametrize("http_version", ["1.1", "2"])
def test_nothing_is_left(gateway, upstream, owned, http_version):
    print("seed", SEED)
    servers = []
    for place in range(2):
        if http_version == "1.1":
            servers.append(upstream(unreliable(SEED + place)))
        else:
            servers.append(h2.Upstream(unreliable_h2(SEED + place)))
            owned.callback(servers[-1].close)

    def edit(targets):
        for target in targets:
            target["timeouts"] = {"first_byte": "500ms", "idle": "500ms", "connect": "5s"}
            if http_version == "2":
                target["http_version"] = "2"

    running = gateway(*servers, edit=edit, workers=2, attempts={"max": 2, "rest": "100ms"})
    threads = [threading.Thread(target=Restless(running, SEED + 100 + number).run) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(4 * wire.TIMEOUT)
        assert not thread.is_alive()
    running.wait_until(lambda: not left_over(running.metrics()))
    if http_version == "1.1":
        with running.client() as client:
            running.wait_until(lambda: client.ask("POST", CHAT, answers.ask(text="calm")).status == 200)
    for line in running.access_path.read_text().splitlines():
        json.loads(line)


def unreliable_h2(seed):
    chance, lock = random.Random(seed), threading.Lock()
    events = answers.chat_stream([f"w{number} " for number in range(20)])
    kinds = {True: ("content-type", "text/event-stream"), False: ("content-type", "application/json")}

    def send(connection, stream, status, body, kind, last=True):
        connection.send(h2.frame(h2.HEADERS, h2.END_HEADERS, stream, h2.response(status, kinds[kind])) +
                        h2.frame(h2.DATA, h2.END_STREAM if last else 0, stream, body.encode()))

    doings = [
        lambda connection, stream: send(connection, stream, 200, answers.chat("word " * 50), False),
        lambda connection, stream: send(connection, stream, 200, "".join(events), True),
        lambda connection, stream: send(connection, stream, 200, "".join(events[:4]), True, False),
        lambda connection, stream: (send(connection, stream, 200, "".join(events[:4]), True, False),
                                    connection.send(h2.reset(stream, h2.INTERNAL_ERROR))),
        lambda connection, stream: connection.send(h2.reset(stream, h2.REFUSED_STREAM)),
        lambda connection, stream: connection.send(h2.frame(h2.GOAWAY, 0, 0, h2.number(0) + h2.number(h2.NO_ERROR))),
        lambda connection, stream: send(connection, stream, 500, answers.error(), False),
        lambda connection, stream: connection.reset(),
        lambda connection, stream: connection.send(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        lambda connection, stream: None,
    ]

    def handle(connection, stream):
        with lock:
            doing = chance.choice(doings)
        doing(connection, stream)

    return handle
