# SPDX-License-Identifier: Apache-2.0
"""
Postern and the proxies it is compared with, each configured for the same job: one worker on one core, HTTP/1.1 keep-alive to the
upstream, an access log line per request. Configurations lie in a folder of the run.
"""
import json
import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROXY_CORE, LOAD_CORE = "0", "1"
# Descriptors a process may have, and with them the connections of a proxy that has two for each client.
FILES = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
FILES = 65536 if FILES == resource.RLIM_INFINITY else min(FILES, 65536)
CONNECTIONS = min(20000, (FILES - 200) // 2)


_next_port = 20000 + os.getpid() % 5000


def free_ports(count):
    """Ports below those given to outgoing connections; never the same twice, since many are taken long after they were chosen."""
    global _next_port
    found = []
    while len(found) < count:
        _next_port += 1
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", _next_port))
                found.append(_next_port)
            except OSError:
                continue
    return found


def pinned(core, command):
    """Pins a command where there is more than one core to choose from."""
    return ["taskset", "-c", core, *command] if (os.cpu_count() or 1) > 1 else command


class Server:
    """One proxy: `h1` and `h2c` are its ports, `upstream` where it sends to (TLS when `tls` names a CA file)."""

    name = ""
    program = ""

    def __init__(self, folder, upstream, tls=None):
        self.folder = folder / self.name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.h1, self.h2c = free_ports(2)
        self.upstream, self.tls = upstream, tls
        self.child = None

    def available(self):
        return shutil.which(self.program) is not None

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def command(self, alone):
        """The command line; `alone`: everything in one process, for valgrind."""
        raise NotImplementedError

    def start(self, wrap=(), wait=True):
        command = pinned(PROXY_CORE, [*wrap, *self.command(bool(wrap))])
        with open(self.folder / "output", "wb") as output:
            self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self.folder)
        if wait:
            self.wait()
        return self

    def listens(self):
        try:
            socket.create_connection(("127.0.0.1", self.h1), timeout=5).close()
            return True
        except OSError:
            return False

    def wait(self):
        end = time.monotonic() + 60
        while not self.listens():
            if self.child.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{self.name} does not start:\n{(self.folder / 'output').read_text(errors='replace')}")
            time.sleep(0.01)

    def processes(self):
        """The ids of its process and of all below it."""
        found, todo = [], [self.child.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
                todo += map(int, task.read_text().split())
        return found

    def stop(self):
        if self.child and self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(60)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()


class Postern(Server):
    name = "postern"
    program = str(ROOT / "build" / "postern")

    def command(self, alone):
        host = "https://localhost" if self.tls else "http://127.0.0.1"
        target = {"name": "bench", "openai": {"url": f"{host}:{self.upstream}/v1"}, "credential": {"api_key": {"file": self.write("key", "k")}},
                  "max_connections": CONNECTIONS}
        if self.tls:
            target["tls"] = {"ca": self.tls}
        config = {
            "apiVersion": "postern/v1", "workers": 1, "listeners": [{"address": f"127.0.0.1:{self.h1}"}],
            "log": {"access": str(self.folder / "access.log")}, "limits": {"connections": CONNECTIONS},
            "drain": {"delay": "0s", "grace": "1s"},
            "targets": [target], "models": [{"name": "gpt-4o", "targets": [{"target": "bench", "deployment": "gpt-4o-real"}]}]}
        self.adjust(config)
        # One port speaks both.
        self.h2c = self.h1
        return [self.program, "run", "--config", self.write("postern.yaml", json.dumps(config, indent=1))]


    def adjust(self, config):
        """What a case wants differently."""


class Nginx(Server):
    name = "nginx"
    program = "nginx"
    # What a case adds to the configuration, {folder} in it being the server's.
    in_http = in_location = ""

    def command(self, alone):
        scheme = "https" if self.tls else "http"
        secure = "proxy_ssl_session_reuse on; proxy_ssl_server_name on;" if self.tls else ""
        text = f"""
worker_processes 1; daemon off; pid {self.folder}/pid; error_log {self.folder}/error.log; worker_rlimit_nofile {FILES};
{"master_process off;" if alone else ""} {"user root;" if os.geteuid() == 0 else ""}
events {{ worker_connections {2 * CONNECTIONS + 100}; }}
http {{
    access_log {self.folder}/access.log;
    # Bodies stay in memory; streams are not held, since the upstream says X-Accel-Buffering: no as Azure does.
    client_max_body_size 64m; client_body_buffer_size 2m; proxy_buffers 40 64k; proxy_busy_buffers_size 128k; proxy_max_temp_file_size 0; keepalive_requests 100000000; keepalive_timeout 600;
    client_body_temp_path {self.folder}/b; proxy_temp_path {self.folder}/p; fastcgi_temp_path {self.folder}/f;
    uwsgi_temp_path {self.folder}/u; scgi_temp_path {self.folder}/s;
    upstream u {{ server 127.0.0.1:{self.upstream}; keepalive {CONNECTIONS}; keepalive_requests 100000000; }}
    {self.in_http.format(folder=self.folder)}
    server {{
        listen 127.0.0.1:{self.h1} backlog=16384; listen 127.0.0.1:{self.h2c} http2 backlog=16384;
        location / {{ proxy_pass {scheme}://u; proxy_http_version 1.1; proxy_set_header Connection ""; {secure} {self.in_location} }}
    }}
}}
"""
        return [self.program, "-c", self.write("nginx.conf", text), "-p", str(self.folder), "-e", f"{self.folder}/error.log"]


class Haproxy(Server):
    name = "haproxy"
    program = "haproxy"

    def command(self, alone):
        secure = "ssl verify none" if self.tls else ""
        text = f"""
global
    nbthread 1
    maxconn {CONNECTIONS}
    log stdout format raw local0
defaults
    mode http
    log global
    option httplog
    http-reuse always
    timeout connect 5s
    timeout client 600s
    timeout server 600s
listen bench
    bind 127.0.0.1:{self.h1} backlog 16384
    bind 127.0.0.1:{self.h2c} proto h2 backlog 16384
    server u 127.0.0.1:{self.upstream} {secure} maxconn {CONNECTIONS} pool-max-conn -1
"""
        return [self.program, "-db", "-f", self.write("haproxy.cfg", text)]


class Nghttpx(Server):
    name = "nghttpx"
    program = "nghttpx"

    def command(self, alone):
        self.h2c = self.h1
        secure = ";;tls" if self.tls else ""
        return [self.program, f"--frontend=127.0.0.1,{self.h1};no-tls", f"--backend=127.0.0.1,{self.upstream}{secure}", "--workers=1",
                "--single-process", "--insecure", "--backlog=16384", f"--accesslog-file={self.folder}/access.log",
                f"--errorlog-file={self.folder}/error.log", "--frontend-http2-max-concurrent-streams=1000",
                f"--rlimit-nofile={FILES}", "--conf=/dev/null"]


PEERS = (Postern, Nginx, Haproxy, Nghttpx)
