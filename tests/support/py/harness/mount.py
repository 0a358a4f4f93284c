# SPDX-License-Identifier: Apache-2.0
"""A directory as kubelet mounts a ConfigMap or Secret: file -> ..data/file, ..data -> a directory of its own for each version."""
import itertools
import os
import shutil


class Mount:
    """`swap` replaces all files at once, as an update of the object does, in the order in which kubelet does it."""

    def __init__(self, folder, **files):
        self.folder = folder
        self.folder.mkdir()
        self.versions = itertools.count(1)
        self.data = folder / "..data"
        self.swap(files)

    def swap(self, files):
        new = self.folder / f"..2026_11_22_10_00_00.{next(self.versions):09}"
        new.mkdir()
        for name, text in files.items():
            (new / name).write_text(text)
        old = self.data.resolve() if self.data.is_symlink() else None
        staged = self.folder / "..data_tmp"
        staged.symlink_to(new.name)
        os.rename(staged, self.data)
        names = {path.name for path in self.folder.iterdir() if not path.name.startswith("..")}
        for name in sorted(set(files) - names):
            (self.folder / name).symlink_to(f"..data/{name}")
        for name in names - set(files):
            (self.folder / name).unlink()
        if old:
            shutil.rmtree(old)

    def file(self, name):
        return self.folder / name
