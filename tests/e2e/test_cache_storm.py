# SPDX-License-Identifier: Apache-2.0
"""The cache under everything at once: many who ask the same, leave when they like, reloads and purges in between, slow
and broken targets. Whoever stays gets a whole answer to his own question."""
import concurrent.futures
import json
import os
import random
import signal
import socket
import threading
import time

import pytest
from harness import answers, wire

CHAT = "/v1/chat/completions"
QUESTIONS = 6
CALLERS = 24
ROUNDS = 25


def body(number, stream):
    return answers.ask(text=f"question {number}", stream=stream, temperature=0)


def handle(received, connection):
    asked = json.loads(received.body)
    text = asked["messages"][0]["content"]
    words = [f"{text} {place} " for place in range(12)]
    if not asked.get("stream"):
        connection.answer(200, answers.chat("".join(words)))
        return
    connection.start_stream()
    try:
        for event in answers.chat_stream(words=words):
            connection.piece(event)
            time.sleep(random.random() / 200)
        connection.end()
    except OSError:
        pass


def caller(port, seed):
    """Asks again and again; leaves early now and then. What it got in full."""
    rng = random.Random(seed)
    whole = []
    for _ in range(ROUNDS):
        number, stream = rng.randrange(QUESTIONS), rng.random() < 0.7
        with socket.create_connection(("127.0.0.1", port), timeout=wire.TIMEOUT) as sock:
            sock.sendall(wire.request("POST", CHAT, body(number, stream), [("connection", "close")]))
            if rng.random() < 0.3:
                sock.recv(rng.choice([1, 200, 2000]))
                continue
            got = b""
            while part := sock.recv(1 << 16):
                got += part
            whole.append((number, stream, got))
    return whole


@pytest.mark.workers
def test_storm(gateway, upstream, tmp_path):
    server = upstream(handle)
    control = tmp_path / "control"
    served = gateway(server, workers=2, admin={"control": f"unix:{control}"}, listener={"filters": ["answers"]},
                     filters={"answers": {"type": "cache", "rules": [{"operations": ["chat"]}], "ttl": "1s", "max_size": "4KiB",
                                          "stale_while_revalidate": "1s", "memory": "1MiB"}})
    over = threading.Event()

    def disturb():
        turn = 0
        while not over.wait(0.05):
            turn += 1
            if turn % 4 == 0:
                config = json.loads(served.config_path.read_text())
                config["filters"]["answers"].update(scope=("consumer", "shared")[turn // 4 % 2], memory=f"{1 + turn // 4 % 2}MiB")
                beside = served.config_path.with_suffix(".new")
                beside.write_text(json.dumps(config))
                os.replace(beside, served.config_path)
                served.signal(signal.SIGHUP)
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(control))
                sock.sendall(wire.request("POST", "/cache/purge" + ("", "?model=gpt-4o")[turn % 2]))
                assert wire.Stream(sock).head().status == 200

    disturber = threading.Thread(target=disturb)
    disturber.start()
    try:
        with concurrent.futures.ThreadPoolExecutor(CALLERS) as pool:
            seen = [one for many in pool.map(lambda seed: caller(served.port, seed), range(CALLERS)) for one in many]
    finally:
        over.set()
        disturber.join()
    assert len(seen) > CALLERS * ROUNDS / 2
    for number, stream, got in seen:
        assert got.startswith(b"HTTP/1.1 200"), got[:300]
        for place in range(12):
            assert f"question {number} {place} ".encode() in got, (number, stream, got[-300:])
        for other in range(QUESTIONS):
            assert other == number or f"question {other} ".encode() not in got
        assert got.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n") or b"[DONE]" in got or not stream
