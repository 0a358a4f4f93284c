# SPDX-License-Identifier: Apache-2.0
"""
Many clients in a process of their own: some keep a stream running, some ask again and again. Every request that went out on a connection
must be answered whole, and every stream must end by its own words; the rest is counted as failed or cut.

    crowd = Crowd(port, streams=500, clients=50, rate=2000)
    crowd.ready()          every stream has had an event, every client an answer
    result = crowd.stop()  a dict, see Tally; or crowd.leave(): until the gateway accepts no more and all streams have ended
"""
import argparse
import asyncio
import collections
import json
import os
import subprocess
import sys
import threading
import time

from . import answers, wire

CHAT = "/v1/chat/completions"


class Tally:
    """What has come of it all."""

    def __init__(self):
        self.statuses = collections.Counter()
        self.streams = collections.Counter()  # complete, told (by an error event), cut, left (by us)
        self.failed = []
        self.refused = self.closes = 0
        self.slowest = 0.0
        self.began = self.answered = time.monotonic()

    def result(self):
        """The rate is that until the last answer: streams may end long after."""
        seconds = time.monotonic() - self.began
        return {"statuses": dict(self.statuses), "streams": dict(self.streams), "failed": self.failed[:10], "failures": len(self.failed),
                "refused": self.refused, "closes": self.closes, "slowest_ms": round(1000 * self.slowest, 1),
                "rate": round(sum(self.statuses.values()) / max(self.answered - self.began, 0.001), 1), "seconds": round(seconds, 1)}


class Connection(asyncio.Protocol):
    """One connection; `over` is called with None when the peer has ended it."""

    def __init__(self, got):
        self.got = got
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.got(data)

    def connection_lost(self, exc):
        self.got(None)


class Asker:
    """Asks in turn, on one connection as long as that is kept."""

    def __init__(self, crowd, number):
        self.crowd, self.number = crowd, number
        self.connection, self.buffer, self.waiter, self.asked = None, b"", None, False

    def got(self, data):
        if data is None:
            self.connection = None
            if self.waiter and not self.waiter.done():
                self.waiter.set_result(None)
            return
        self.buffer += data
        head, mark, rest = self.buffer.partition(b"\r\n\r\n")
        if not mark:
            return
        fields = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:])
        length = int(fields.get(b"content-length", b"0"))
        if len(rest) >= length and self.waiter and not self.waiter.done():
            self.buffer = rest[length:]
            self.waiter.set_result((int(head.split(b" ", 2)[1]), fields.get(b"connection") == b"close"))

    async def ask(self):
        """False: nobody accepts connections any more."""
        crowd, loop = self.crowd, asyncio.get_running_loop()
        if not self.connection:
            try:
                _, self.connection = await loop.create_connection(lambda: Connection(self.got), "127.0.0.1", crowd.port)
            except OSError:
                crowd.tally.refused += 1
                return False
            self.buffer = b""
        self.waiter = loop.create_future()
        began = time.monotonic()
        self.connection.transport.write(crowd.request)
        answer = await self.waiter
        if answer is None:
            crowd.tally.failed.append(f"client {self.number}: no answer, got {self.buffer[:80]!r}")
            return True
        status, close = answer
        crowd.tally.answered = time.monotonic()
        crowd.tally.slowest = max(crowd.tally.slowest, crowd.tally.answered - began)
        crowd.tally.statuses[status] += 1
        if close:
            crowd.tally.closes += 1
            if self.connection:
                self.connection.transport.close()
            self.connection = None
        return True

    async def run(self):
        crowd = self.crowd
        pause = crowd.clients / crowd.rate if crowd.rate else 0
        due = time.monotonic() + pause * self.number / max(crowd.clients, 1)
        first = True
        while not crowd.stopping:
            if pause:
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                due = max(due + pause, time.monotonic() - 1)
            if not await self.ask():
                break
            if first:
                crowd.one_ready()
                first = False
        if first:
            crowd.one_ready()
        if self.connection:
            self.connection.transport.close()


class Listener:
    """Keeps a stream; begins another when it has ended, unless all are leaving."""

    def __init__(self, crowd):
        self.crowd = crowd
        self.done, self.tail, self.seen = None, b"", False

    def got(self, data):
        if data is not None:
            self.tail = (self.tail + data)[-600:]
            if not self.seen and b"data: " in self.tail:
                self.seen = True
                self.crowd.one_ready()
        ended = self.tail.endswith(b"0\r\n\r\n")
        if (data is None or ended) and not self.done.done():
            self.done.set_result("complete" if b"data: [DONE]" in self.tail and ended else
                                 "told" if b'"draining"' in self.tail and ended else "cut")

    async def run(self):
        crowd, loop = self.crowd, asyncio.get_running_loop()
        while not crowd.stopping:
            self.done, self.tail = loop.create_future(), b""
            try:
                transport, _ = await loop.create_connection(lambda: Connection(self.got), "127.0.0.1", crowd.port)
            except OSError:
                crowd.tally.refused += 1
                return
            transport.write(crowd.stream)
            stopped = asyncio.ensure_future(crowd.stopped.wait())
            await asyncio.wait({self.done, stopped}, return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            word = self.done.result() if self.done.done() else "left"
            crowd.tally.streams[word] += 1
            if word == "cut":
                crowd.tally.failed.append(f"stream cut after {self.tail[-120:]!r}")
            transport.close()
            if crowd.leaving:
                return


class Running:
    """The process's side."""

    def __init__(self, options):
        self.port, self.clients, self.rate = options.port, options.clients, options.rate
        self.request = wire.request("POST", CHAT, answers.ask(options.model))
        # Without blanks, as most SDKs write it.
        compact = json.dumps(json.loads(answers.ask(options.stream_model, stream=True)), separators=(",", ":"))
        self.stream = wire.request("POST", CHAT, compact)
        self.unready = options.clients + options.streams
        self.stopping = self.leaving = False
        self.tally = Tally()
        self.listeners = options.streams

    def one_ready(self):
        self.unready -= 1
        if self.unready == 0:
            print("ready", flush=True)

    def told(self):
        word = sys.stdin.readline().strip()
        self.leaving = True
        if word == "stop":
            self.stopping = True
            self.stopped.set()
        return bool(word)

    async def run(self):
        self.stopped = asyncio.Event()
        asyncio.get_running_loop().add_reader(sys.stdin, lambda: self.told() or asyncio.get_running_loop().remove_reader(sys.stdin))
        await asyncio.gather(*(Asker(self, number).run() for number in range(self.clients)),
                             *(Listener(self).run() for _ in range(self.listeners)))
        print(json.dumps(self.tally.result()), flush=True)


class Crowd:
    """The test's side."""

    def __init__(self, port, streams=0, clients=0, rate=0, model="m", stream_model="m"):
        command = [sys.executable, "-m", "harness.crowd", "--port", port, "--streams", streams, "--clients", clients, "--rate", rate,
                   "--model", model, "--stream-model", stream_model]
        path = os.pathsep.join(filter(None, sys.path))
        self.child = subprocess.Popen([str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                      env={**os.environ, "PYTHONPATH": path})

    def line(self, seconds):
        """The next line, or an error when the crowd takes too long: it then ends."""
        watchdog = threading.Timer(seconds, self.child.kill)
        watchdog.start()
        try:
            text = self.child.stdout.readline()
        finally:
            watchdog.cancel()
        assert text, f"the crowd ended without a word ({self.child.wait()})"
        return text

    def ready(self, seconds=4 * wire.TIMEOUT):
        assert self.line(seconds) == "ready\n"

    def tell(self, word):
        self.child.stdin.write(f"{word}\n")
        self.child.stdin.flush()

    def result(self, seconds=4 * wire.TIMEOUT):
        found = json.loads(self.line(seconds))
        self.child.stdin.close()
        self.child.stdout.close()
        self.child.wait()
        return found

    def stop(self):
        self.tell("stop")
        return self.result()

    def leave(self):
        """From now on streams that end are not begun again, and clients go when they are refused; `result` waits for that."""
        self.tell("leave")

    def close(self):
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for option in ("port", "streams", "clients"):
        parser.add_argument(f"--{option}", type=int)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--model")
    parser.add_argument("--stream-model")
    asyncio.run(Running(parser.parse_args()).run())
