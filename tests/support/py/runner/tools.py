# SPDX-License-Identifier: Apache-2.0
"""
What the end-to-end tests need beside Debian: Python and Node packages at the versions named in tests/e2e, and two Go programs.
All of it goes to .cache/ and is made once; a stamp that holds the wish tells whether it must be made again.
"""
import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading

from . import paths

REQUIREMENTS = paths.TESTS / "e2e" / "requirements.txt"
# Apart from the others, so that a change here does not make those anew.
REQUIREMENTS_KUBERNETES = paths.TESTS / "e2e" / "requirements-kubernetes.txt"
NODE_MANIFEST = paths.TESTS / "e2e" / "node" / "package.json"
GO_NEEDED = (1, 24)
# name -> module, versions of which the first that the proxy has is taken, package below it. h2spec's last release counts 145 cases,
# the commit after it 146; not every proxy serves commits.
GO_PROGRAMS = {
    "h2spec": ("github.com/summerwind/h2spec", ["af83a65f0b6273ef38bf778d400d98892e7653d8", "v2.2.1+incompatible"], "cmd/h2spec"),
    "llm-d-inference-sim": ("github.com/llm-d/llm-d-inference-sim", ["v0.10.2"], "cmd/llm-d-inference-sim"),
    "helm": ("helm.sh/helm/v3", ["v3.19.4"], "cmd/helm"),
    "kustomize": ("sigs.k8s.io/kustomize/kustomize/v5", ["v5.8.1"], ""),
}
# Programs of our own, in tests/support.
GO_SOURCES = ["policy"]


def call(command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stdout}")


def stamped(stamp, wish, make):
    """Calls make() unless `stamp` says that it was done for the same wish."""
    digest = hashlib.sha256(wish.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    make()
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(digest)


def python_packages():
    def make():
        shutil.rmtree(paths.VENV, ignore_errors=True)
        call([sys.executable, "-m", "venv", str(paths.VENV)])
        call([str(paths.VENV / "bin" / "pip"), "install", "--quiet", "--no-input", "-r", str(REQUIREMENTS)])

    def add():
        call([str(paths.VENV / "bin" / "pip"), "install", "--quiet", "--no-input", "-r", str(REQUIREMENTS_KUBERNETES)])

    stamped(paths.VENV / "stamp", sys.version + REQUIREMENTS.read_text(), make)
    stamped(paths.VENV / "stamp-kubernetes", REQUIREMENTS_KUBERNETES.read_text(), add)


def node_packages():
    def make():
        paths.NODE.mkdir(parents=True, exist_ok=True)
        shutil.copy(NODE_MANIFEST, paths.NODE / "package.json")
        call(["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"], cwd=paths.NODE)

    stamped(paths.NODE / "stamp", NODE_MANIFEST.read_text(), make)


def go_version():
    if not shutil.which("go"):
        return None
    text = subprocess.run(["go", "version"], capture_output=True, text=True, env={**os.environ, "GOTOOLCHAIN": "local"}).stdout
    found = re.search(r"go(\d+)\.(\d+)", text)
    return tuple(map(int, found.groups())) if found else None


def go_programs():
    """Makes nothing where Go is missing or too old: the tests that need it then say why they are skipped."""
    version = go_version()
    if version is None or version < GO_NEEDED:
        return
    # The programs of the machine stay as they are: a cache, a module store and a target of our own.
    env = {**os.environ, "GOTOOLCHAIN": "local", "GOPATH": str(paths.GO),
           "GOCACHE": str(paths.GO / "build"), "GOFLAGS": "-modcacherw", "CGO_ENABLED": "0"}
    for name, (module, versions, package) in GO_PROGRAMS.items():
        stamped(paths.GO / f"{name}.stamp", f"{module}@{versions}",
                lambda: go_program(name, module, versions, package, env))
    for name in GO_SOURCES:
        source = paths.TESTS / "support" / name
        stamped(paths.GO / f"{name}.stamp", "".join(path.read_text() for path in sorted(source.iterdir())), lambda: go_source(name, source, env))


def go_source(name, source, env):
    """Builds a copy, so that what Go adds to go.mod and go.sum stays out of the tree."""
    folder = paths.GO / "src" / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    call(["go", "build", "-mod=mod", "-o", str(paths.GO / "bin" / name), "."], cwd=folder, env=env)


def go_program(name, module, versions, package, env):
    """Builds from a module of our own that requires the version: `go install` would ask for the list of all versions first."""
    folder = paths.GO / "src" / name
    for version in versions:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        call(["go", "mod", "init", f"tests/{name}"], cwd=folder, env=env)
        call(["go", "mod", "edit", f"-require={module}@{version}"], cwd=folder, env=env)
        try:
            call(["go", "build", "-mod=mod", "-o", str(paths.GO / "bin" / name), f"{module}/{package}".rstrip("/")], cwd=folder, env=env)
            return
        except RuntimeError:
            if version == versions[-1]:
                raise


STEPS = {"python packages": python_packages, "node packages": node_packages, "go programs": go_programs}


class Tools:
    """Fetches in the background while the builds run; wait() reports what went wrong as setup/NAME."""

    def __init__(self, report):
        self.report = report
        self.errors = {}
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        for name, step in STEPS.items():
            try:
                step()
            except (RuntimeError, OSError) as error:
                self.errors[name] = str(error)

    def wait(self):
        """True when the Python side stands, without which nothing can run."""
        if self.thread.is_alive():
            self.report.say("waiting for the packages the end-to-end tests need")
        self.thread.join()
        for name, error in self.errors.items():
            self.report.failed(f"setup/{name}", error)
        return "python packages" not in self.errors
