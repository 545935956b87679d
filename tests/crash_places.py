"""Where the stores of the crash driver lie: one empty place for every round, and nothing left of it afterwards."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from minio import Minio
from minio.deleteobjects import DeleteObject

from hypernet.storage.directory import DirectoryObjects
from hypernet.storage.s3 import S3Objects, Server
from tests.crash_scenarios import KEY, Contents
from tests.s3_server import running_server
from tests.storages import Storages


class Place(Protocol):
    """Where one store lies."""

    is_remote: bool
    """Whether a server keeps it: one that can fail to answer, and leaves the pointer of an erased user, vacant."""

    def open(self) -> Storages:
        """Its storages, opened anew: no process may use what another one has opened."""
        ...

    def folders(self) -> list[str]:
        """Folders of the user that are there."""
        ...

    def discard(self) -> None:
        """Removes everything."""
        ...


class Folder:
    """A place in a folder."""

    is_remote = False

    def __init__(self, root: Path) -> None:
        self._root = root / uuid4().hex

    def open(self) -> Storages:
        """As `Place.open`."""
        return DirectoryObjects(self._root / "adapters"), DirectoryObjects(self._root / "keys")

    def folders(self) -> list[str]:
        """As `Place.folders`."""
        folders = [self._root / name / KEY.prefix for name in ("adapters", "keys")]
        return [str(folder.relative_to(self._root)) for folder in folders if folder.exists()]

    def discard(self) -> None:
        """As `Place.discard`."""
        shutil.rmtree(self._root)


class Bucket:
    """A place in a bucket, under a prefix of its own."""

    is_remote = True

    def __init__(self, server: Server) -> None:
        self._server = server
        self._prefix = f"{uuid4().hex}/"

    def open(self) -> Storages:
        """As `Place.open`."""
        objects, keys = (S3Objects(replace(self._server, prefix=f"{self._prefix}{name}/")) for name in ("a", "k"))
        return objects, keys

    def folders(self) -> list[str]:
        """As `Place.folders`: in a bucket there are none."""
        return []

    def discard(self) -> None:
        """As `Place.discard`."""
        server = self._server
        client = Minio(
            server.endpoint,
            access_key=server.access_key,
            secret_key=server.secret_key.get_secret_value(),
            secure=server.secure,
            region=server.region or "us-east-1",
        )
        listed = client.list_objects(server.bucket, prefix=self._prefix, recursive=True)
        left = client.remove_objects(server.bucket, [DeleteObject(str(entry.object_name)) for entry in listed])
        if errors := list(left):
            raise RuntimeError(f"not removed: {errors}")


@contextmanager
def places(storage: str) -> Iterator["Places"]:
    """Where places can be had for as long as the context lasts: `directory`, or `s3`."""
    # In memory where there is such a folder: the kernel keeps what a killed process had written, disk or no disk.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - a folder of our own inside it
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        if storage == "directory":
            yield Places(Path(folder))
            return
        with running_server(Path(folder)) as server:
            objects = S3Objects(server)
            objects.make_bucket()
            objects.close()
            yield Places(server)


class Places:
    """Makes places."""

    def __init__(self, where: Path | Server) -> None:
        self._where = where
        self.pace_s = 0.002 if isinstance(where, Path) else 0.02
        """About how long a call of the store takes there."""

    @contextmanager
    def place(self, prepared: tuple[Contents, Contents]) -> Iterator[Place]:
        """A place with these contents, for as long as the context lasts."""
        made: Place = Folder(self._where) if isinstance(self._where, Path) else Bucket(self._where)
        for storage, contents in zip(made.open(), prepared, strict=True):
            for name, data in contents.items():
                storage.write(name, data)
            storage.close()
        try:
            yield made
        finally:
            made.discard()
