# SPDX-License-Identifier: Apache-2.0
"""
A configuration that changes, and an end, under load: 500 streams and 2,000 requests per second, 100 swaps of a mounted ConfigMap in 20
seconds with a broken text in every tenth, then SIGTERM. How many were cut or failed, how soon each swap was in force, what memory did.
"""
import json
import os
import pathlib
import re
import shutil
import sys
import time

import servers

sys.path.insert(0, str(servers.ROOT / "tests" / "support" / "py"))

from harness import crowd, mount, process  # noqa: E402

STREAMS, CLIENTS, RATE = 500, 50, 2000
SWAPS, SECONDS = 100, 20
GRACE = 10


def resident_mib(child):
    text = pathlib.Path(f"/proc/{child.pid}/status").read_text()
    return int(re.search(r"^VmRSS:\s+(\d+)", text, re.MULTILINE).group(1)) / 1024


def start(folder, port, workers):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.environ["POSTERN_BINARY"] = str(servers.ROOT / "build" / "postern")
    config = {"targets": [{"name": "up", "openai": {"url": f"http://127.0.0.1:{port}/v1"}}], "models": [{"name": "m", "targets": ["up"]}],
              "workers": workers, "drain": {"delay": "1s", "grace": f"{GRACE}s"}, "log": {"access": "off"}}
    return process.Gateway(folder, config, mount=mount.Mount(folder / "config"))


def swap_often(gateway):
    """Seconds until each good text was in force and each broken one refused; resident MiB on the way."""
    mounted, whole = gateway.mount, json.loads(gateway.config_text)
    times, resident, taken, began = [], [resident_mib(gateway.child)], 1, time.monotonic()
    for number in range(1, SWAPS + 1):
        broken = number % 10 == 0
        said = "the last good one stays in force" if broken else f"configuration {taken + 1} is in force"
        before, at = "".join(gateway.stderr).count(said), time.monotonic()
        models = [*whole["models"], {"name": f"more-{number}", "targets": ["up"]}]
        mounted.swap({"postern.yaml": f"wrong-{number}: 1" if broken else json.dumps({**whole, "models": models})})
        gateway.wait_until(lambda: "".join(gateway.stderr).count(said) > before)
        times.append(time.monotonic() - at)
        taken += not broken
        if number % 10 == 0:
            resident.append(resident_mib(gateway.child))
        time.sleep(max(0.0, began + number * SECONDS / SWAPS - time.monotonic()))
    return sorted(times), resident, time.monotonic() - began


def failures(result):
    return result["failures"] + sum(count for status, count in result["statuses"].items() if status != "200")


def one(folder, port, workers):
    gateway = start(folder, port, workers)
    crowded = crowd.Crowd(gateway.port, streams=STREAMS, clients=CLIENTS, rate=RATE)
    try:
        crowded.ready()
        times, resident, seconds = swap_often(gateway)
        crowded.leave()
        began = time.monotonic()
        gateway.signal(15)
        result = crowded.result()
        gateway.stop()
        ended = time.monotonic() - began
    finally:
        crowded.close()
    streams = result["streams"]
    print(f"  {workers} worker{'s' * (workers > 1)}: {SWAPS} swaps in {seconds:.1f} s, in force after {1000 * times[len(times) // 2]:.0f} ms "
          f"(median), {1000 * times[-1]:.0f} ms (slowest); {sum(result['statuses'].values())} requests ({result['rate']:.0f}/s), "
          f"{failures(result)} failed; {STREAMS} streams, {streams.get('cut', 0)} cut; resident MiB "
          f"{', '.join(f'{value:.1f}' for value in resident)}")
    print(f"  {'':8} SIGTERM: {streams.get('told', 0)} streams told at the end of {GRACE} s, {streams.get('complete', 0)} complete, "
          f"ended with 0 after {ended:.1f} s")
    if result["failed"]:
        print("  failed:", *result["failed"], sep="\n    ")


def run(folder, port):
    print(f"\na living configuration: {STREAMS} streams, {RATE} requests per second asked for")
    for workers in (1, 2):
        one(folder / f"living-{workers}", port, workers)
