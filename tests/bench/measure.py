# SPDX-License-Identifier: Apache-2.0
"""What is measured, and how: CPU time from the scheduler, memory as PSS, system calls by perf or strace, instructions by callgrind."""
import contextlib
import json
import pathlib
import re
import shutil
import subprocess
import sys

from servers import LOAD_CORE, pinned

CFLAGS = ["-std=c17", "-D_GNU_SOURCE", "-O2"]
HERE = pathlib.Path(__file__).resolve().parent


def compile_tool(folder, name, *libraries):
    subprocess.run(["cc", *CFLAGS, "-o", str(folder / name), str(HERE / f"{name}.c"), *libraries], check=True)


def compile_tools(folder):
    for name in ("load", "upstream"):
        compile_tool(folder, name)


def cpu_microseconds(server):
    """CPU time of all threads of a server since they began."""
    total = 0
    for pid in server.processes():
        for task in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):
                total += int(task.read_text().split()[0])
    return total / 1000


def memory_kib(server):
    """Proportional set size of all its processes."""
    total = 0
    for pid in server.processes():
        text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        total += int(re.search(r"^Pss:\s+(\d+)", text, re.MULTILINE).group(1))
    return total


class Tools:
    """The compiled load generator and upstream, and h2load."""

    def __init__(self, folder):
        self.folder = folder
        compile_tools(folder)

    def upstream(self, port, size=1100, chunks=100, interval=20):
        command = pinned(LOAD_CORE, [str(self.folder / "upstream"), str(port), str(size), str(chunks), str(interval)])
        return subprocess.Popen(command)

    def load_command(self, port, body, connections, requests):
        return pinned(LOAD_CORE, [str(self.folder / "load"), str(port), "/v1/chat/completions", str(body), str(connections), str(requests)])

    def load(self, port, body, connections, requests, vary=None):
        """`vary`: (first, count) of the numbers that take the place of the body's eight zeros in turn."""
        more = ["vary", *map(str, vary)] if vary else []
        done = subprocess.run([*self.load_command(port, body, connections, requests), *more], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"load: {done.stdout} {done.stderr}")
        return json.loads(done.stdout)

    def hold(self, port, body, streams):
        """Streams that stay open until the returned process's standard input is closed."""
        child = subprocess.Popen([*self.load_command(port, body, streams, streams), "hold"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 text=True)
        if child.stdout.readline().strip() != "ready":
            raise RuntimeError("load: not all streams began")
        return child

    def h2load(self, port, body, connections, streams, requests):
        command = ["h2load", "-n", requests, "-c", connections, "-m", streams, "-d", body, "-H", "content-type: application/json",
                   f"http://127.0.0.1:{port}/v1/chat/completions"]
        done = subprocess.run(pinned(LOAD_CORE, [str(part) for part in command]), capture_output=True, text=True)
        good = re.search(r"status codes: (\d+) 2xx", done.stdout)
        if not good or int(good.group(1)) != requests:
            raise RuntimeError(f"h2load: {done.stdout} {done.stderr}")
        return {"requests": requests, "seconds": requests / float(re.search(r", ([\d.]+) req/s", done.stdout).group(1))}


def perf_works():
    return shutil.which("perf") is not None and subprocess.run(["perf", "stat", "-e", "raw_syscalls:sys_enter", "true"],
                                                               capture_output=True).returncode == 0


def system_calls(server, command, folder):
    """System calls of a server while `command` runs. perf counts from outside; strace, the fallback, slows what it counts."""
    pids = server.processes()
    if perf_works():
        done = subprocess.run(["perf", "stat", "-x", ",", "-e", "raw_syscalls:sys_enter", "-p", ",".join(map(str, pids)), "--", *command],
                              capture_output=True, text=True, check=True)
        return int(re.search(r"^(\d+),", done.stderr, re.MULTILINE).group(1))
    path = folder / "strace"
    arguments = [part for pid in pids for part in ("-p", str(pid))]
    tracer = subprocess.Popen(["strace", "-c", "-f", "-o", str(path), *arguments], stderr=subprocess.PIPE, text=True)
    tracer.stderr.readline()
    subprocess.run(command, check=True, capture_output=True)
    tracer.send_signal(2)
    tracer.wait()
    return int(re.search(r"(\d+)(?:\s+\d+)? total", path.read_text()).group(1))


def instructions(make_server, drive):
    """User-space instructions of a server that lives from start to stop under callgrind, driven by drive(server)."""
    server = make_server()
    out = server.folder / "callgrind"
    for old in server.folder.glob("callgrind*"):
        old.unlink()
    server.start(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}.%p"])
    try:
        drive(server)
    finally:
        server.stop()
    return counted(server.folder)


def counted(folder):
    """The sum of what callgrind has written to a folder."""
    total = 0
    for path in folder.glob("callgrind.*"):
        found = re.findall(r"^(?:totals|summary): (\d+)", path.read_text(), re.MULTILINE)
        total += int(found[-1]) if found else 0
    return total


def counted_object(folder, name):
    """The part of it that was spent in objects (libraries) whose path holds `name`, without what they called."""
    total = 0
    for path in folder.glob("callgrind.*"):
        paths, inside, called = {}, False, False
        for line in path.read_text().splitlines():
            found = re.match(r"(c?ob)=\((\d+)\)(?: (.*))?", line)
            if found:
                paths.setdefault(found[2], found[3])
                inside = name in (paths[found[2]] or "") if found[1] == "ob" else inside
            elif re.match(r"[-+*\d]", line):
                total += int(line.split()[-1]) if inside and not called else 0
            called = line.startswith("calls=")
    return total


def program_instructions(command, folder, function):
    """User-space instructions that a program spends in one of its functions and below."""
    for old in folder.glob("callgrind*"):
        old.unlink()
    subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/callgrind.%p", f"--toggle-collect={function}*", *command],
                   check=True, capture_output=True)
    return counted(folder)


def note(text):
    print(text, file=sys.stderr, flush=True)
