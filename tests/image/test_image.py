# SPDX-License-Identifier: Apache-2.0
"""
The container image, where buildah can run: what deploy/image/build.sh makes, proves and says of it. Two builds take minutes, so only
`./dev test image` runs this; it installs buildah.
"""
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import tarfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "deploy" / "image" / "build.sh"
LARGEST = 15 * 1024 * 1024
BUILD_SECONDS = 600
MISSING = [program for program in ("buildah", "mmdebstrap", "ip", "unshare") if not shutil.which(program)]

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (./dev test image installs them)"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a root file system"),
]


class Image:
    """An OCI archive: its manifest, its configuration and the files of its layers."""

    def __init__(self, path):
        with tarfile.open(path) as archive:
            blobs = {member.name.rpartition("/")[2]: archive.extractfile(member).read() for member in archive.getmembers() if member.isfile()}
        self.digest = json.loads(blobs["index.json"])["manifests"][0]["digest"]
        self.manifest = json.loads(blobs[self.digest.removeprefix("sha256:")])
        self.config = json.loads(blobs[self.manifest["config"]["digest"].removeprefix("sha256:")])
        self.members, self.contents = {}, {}
        for layer in self.manifest["layers"]:
            work = pathlib.Path(path).with_suffix(".layer")
            work.write_bytes(blobs[layer["digest"].removeprefix("sha256:")])
            with tarfile.open(work) as files:
                for member in files.getmembers():
                    self.members[member.name.strip("./")] = member
                    if member.isfile():
                        self.contents[member.name.strip("./")] = files.extractfile(member).read()
            work.unlink()


def build(*options):
    """In .cache/image, one at a time: tests of this file may run in several processes."""
    folder = pathlib.Path(os.environ["POSTERN_CACHE"]) / "image"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run([str(BUILD), *options], capture_output=True, text=True, timeout=BUILD_SECONDS,
                              env={**os.environ, "POSTERN_IMAGE_FOLDER": str(folder)})
        assert done.returncode == 0, done.stderr[-4000:]
        return Image(folder / "postern.oci"), done


@pytest.fixture(scope="module")
def image():
    """Built and started once; the base and what has not changed come from the cache."""
    return build("--cached")


def test_starts_and_answers(image):
    assert "postern demo answered a completion" in image[1].stderr
    assert image[1].stdout.split()[2] == image[0].digest


def test_holds_what_runs_and_nothing_else(image):
    found = image[0]
    assert sum(len(content) for content in found.contents.values()) <= LARGEST
    programs = [name for name, member in found.members.items() if member.isfile() and member.mode & 0o111 and ".so" not in name]
    assert programs == ["usr/bin/postern"]
    assert not [name for name, member in found.members.items() if member.mode & 0o6000 or member.uid or member.gid]
    assert "etc/ssl/certs/ca-certificates.crt" in found.contents
    assert found.members["usr/lib/ssl/cert.pem"].linkname == "/etc/ssl/certs/ca-certificates.crt"


def test_runs_as_nobody(image):
    config = image[0].config["config"]
    assert config["User"] == "65532:65532" and config["Entrypoint"] == ["/usr/bin/postern"]
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    revision = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    assert config["Labels"]["org.opencontainers.image.revision"].startswith(revision or "unknown")


def test_sbom_names_every_library(image):
    """And scanners find the packages where they look for dpkg's."""
    contents = image[0].contents
    sbom = json.loads(contents["usr/share/doc/postern/sbom.spdx.json"])
    packages = {package["name"]: package for package in sbom["packages"]}
    assert sbom["spdxVersion"] == "SPDX-2.3" and len({package["SPDXID"] for package in sbom["packages"]}) == len(packages)
    assert packages["postern"]["checksums"][0]["checksumValue"] == hashlib.sha256(contents["usr/bin/postern"]).hexdigest()
    for name, package in packages.items():
        if name != "postern":
            status = contents[f"var/lib/dpkg/status.d/{name}"].decode()
            assert f"Version: {package['versionInfo']}\n" in status
            assert package["externalRefs"][0]["referenceLocator"].startswith(f"pkg:deb/debian/{name}@")
            assert f"usr/share/doc/{name}/copyright" in contents
    assert {"libc6", "ca-certificates"} < set(packages) and any(name.startswith("libssl3") for name in packages)
    related = {one["relatedSpdxElement"] for one in sbom["relationships"] if one["relationshipType"] == "DEPENDS_ON"}
    assert related == {package["SPDXID"] for name, package in packages.items() if name != "postern"}
    libraries = [name for name in contents if ".so" in name]
    assert len(libraries) >= len(packages) - 2


def test_the_same_again():
    """Builds that reuse nothing but the base come to the same digest, and every file has the commit's time."""
    first, _ = build("--no-proof")
    again, _ = build("--no-proof")
    assert again.digest == first.digest
    assert len({member.mtime for member in again.members.values()}) == 1
