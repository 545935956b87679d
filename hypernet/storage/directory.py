"""Objects in a directory of a local file system: the embedded default."""

import errno
import fcntl
import hashlib
import heapq
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypernet.durable_files import sync_folder, write_and_close
from hypernet.errors import ObjectChanged, StoreCorrupt, StoreUnavailable
from hypernet.storage.object_storage import StoredObject, tag_of

_LOCKS = ".locks"
_LOCK_STRIPES = 256
_LOCK_POLL_S = 0.005
_UNFINISHED = ".unfinished"
"""Ending of a file that is still being written; removed like any other object nobody refers to."""
_NO_FILE = "Where the store keeps a file there is something else; move it away, or restore the file from a backup."
_ATTEMPTS = 100
"""How often a file is begun anew that somebody else has removed, or its folder."""


class DirectoryObjects:
    """An `ObjectStorage` in a directory, for any number of threads and processes of one machine.

    The file system must be a local one: it has to honour `flock`, `fsync` and atomic renames. No link is followed
    inside the root: an object that is one is `StoreUnavailable`.
    """

    def __init__(self, root: Path | str, *, lock_timeout_s: float = 30.0) -> None:
        self._root = Path(root).absolute()
        self._lock_timeout_s = lock_timeout_s
        self._closed = False
        with self._session():
            made = [folder for folder in (self._root, *self._root.parents) if not folder.exists()]
            # Nobody else's to read; what is made inside it is behind it.
            self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
            (self._root / _LOCKS).mkdir(exist_ok=True)
            for folder in (self._root, *(folder.parent for folder in made)):
                sync_folder(folder)

    def read(self, name: str) -> StoredObject | None:
        """As `ObjectStorage.read`; waits for nobody."""
        with self._session():
            data = self._read(self._path(name))
            if data is None:
                self._check_present()
        return None if data is None else StoredObject(data=data, tag=tag_of(data))

    def write(self, name: str, data: bytes | bytearray) -> None:
        """As `ObjectStorage.write`; the folders on the way to it are durable once something is swapped in there."""
        with self._session():
            self._place(self._path(name), data)

    def swap(self, name: str, data: bytes, *, expected: str | None) -> str:
        """As `ObjectStorage.swap`; waits at most `lock_timeout_s` for another writer."""
        path = self._path(name)
        with self._session(), self._locked(name):
            self._check_tag(path, expected)
            self._place(path, data)
            if expected is None:
                # Who made the folders on the way to it may have died before their names were durable.
                for folder in path.parent.relative_to(self._root).parents:
                    sync_folder(self._root / folder)
        return tag_of(data)

    def settle(self, name: str) -> None:
        """As `ObjectStorage.settle`."""
        with self._session():
            sync_folder(self._path(name).parent)

    def remove(self, name: str) -> None:
        """As `ObjectStorage.remove`."""
        with self._session(), self._locked(name.removesuffix(_UNFINISHED)):
            self._remove(self._path(name))

    def remove_if(self, name: str, *, expected: str) -> bool:
        """As `ObjectStorage.remove_if`; always can. Waits as `swap` does."""
        path = self._path(name)
        with self._session(), self._locked(name):
            self._check_tag(path, expected)
            self._remove(path)
        return True

    def names(self, prefix: str, *, after: str | None = None, limit: int | None = None) -> dict[str, int]:
        """As `ObjectStorage.names`."""
        with self._session():
            self._check_present()
            top = self._path(f"{prefix}_").parent
            # What goes away meanwhile is passed over; a link to a folder is a name like any other.
            found = sorted(
                name
                for folder, folders, files in os.walk(top, onerror=_unless_gone)
                for file in [*files, *(inner for inner in folders if (Path(folder) / inner).is_symlink())]
                if (name := f"{prefix}{(Path(folder) / file).relative_to(top).as_posix()}")
                and (after is None or name > after)
            )
            return {name: size for name in found[:limit] if (size := _size_of(self._root / name)) is not None}

    def folders(self, prefix: str, *, after: str | None = None, limit: int = 1000) -> list[str]:
        """As `ObjectStorage.folders`."""
        with self._session():
            self._check_present()
            try:
                entries = os.scandir(self._path(f"{prefix}_").parent)
            except (FileNotFoundError, NotADirectoryError):
                return []
            with entries:
                # In the order of paths, and no more in memory than are asked for.
                found = heapq.nsmallest(
                    limit,
                    (
                        f"{entry.name}/"
                        for entry in entries
                        if entry.is_dir(follow_symlinks=False)
                        and entry.name.isascii()  # else somebody else's, and perhaps not even text
                        and entry.name[0] != "."
                        and (after is None or f"{entry.name}/" > f"{after}/")
                    ),
                )
        return [name[:-1] for name in found]

    def tidy(self, prefix: str) -> None:
        """As `ObjectStorage.tidy`: removes empty folders, whose names say who was there."""
        with self._session():
            top = self._path(f"{prefix}_").parent
            for folder, _, _ in os.walk(top, topdown=False, onerror=_unless_gone):
                self._remove_empty(Path(folder))
            self._remove_upwards(top)

    def check(self) -> None:
        """As `ObjectStorage.check`: writes a nameless file and makes it durable."""
        with self._session():
            self._check_present()
            with tempfile.TemporaryFile(dir=self._root) as probe:
                probe.write(b"probe")
                probe.flush()
                os.fsync(probe.fileno())

    def close(self) -> None:
        """As `ObjectStorage.close`."""
        self._closed = True

    @contextmanager
    def _session(self) -> Iterator[None]:
        """The one place where the operating system's errors become ours; paths stay out of them, they hold names."""
        if self._closed:
            raise StoreUnavailable("The store is closed.")
        try:
            yield
        except OSError as error:
            raise StoreUnavailable(
                f"The directory store cannot be read or written: {error.strerror or type(error).__name__}. "
                "Check the disk and the permissions of its root."
            ) from error

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """One writer at a time for this object, among all threads and processes.

        The lock files are a fixed few that nobody ever removes, so no process can hold a lock on a file that another
        one has already replaced. The kernel frees the lock of a process that dies.
        """
        # A foreign file's name need not be text.
        stripe = int(hashlib.sha256(os.fsencode(name)).hexdigest(), 16) % _LOCK_STRIPES
        deadline = time.monotonic() + self._lock_timeout_s
        descriptor = os.open(self._root / _LOCKS / f"{stripe:02x}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while not _try_lock(descriptor):
                if time.monotonic() > deadline:
                    raise StoreUnavailable(
                        f"Another writer has held this adapter for over {self._lock_timeout_s:g} s; try again later."
                    )
                time.sleep(_LOCK_POLL_S)
            yield
        finally:
            os.close(descriptor)

    def _path(self, name: str) -> Path:
        if ".." in name.split("/") or name.startswith("/"):
            raise StoreCorrupt("An object was asked for whose name leads out of the directory store.")
        path = self._root / name
        for folder in path.parents:
            if folder == self._root:
                break
            if folder.is_symlink():
                raise StoreUnavailable(
                    "A folder inside the directory store is a link, which could lead anywhere. Move what it points to "
                    "into its place, or let the whole store lie elsewhere."
                )
        return path

    def _read(self, path: Path) -> bytes | None:
        try:
            # A link would lead out of the root, or to another tenant; a pipe would be waited for.
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno != errno.ENXIO:  # of a socket
                raise
            raise StoreCorrupt(_NO_FILE) from None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise StoreCorrupt(_NO_FILE)
        with os.fdopen(descriptor, "rb") as file:
            return file.read()

    def _check_tag(self, path: Path, expected: str | None) -> None:
        present = self._read(path)
        if present is None:
            self._check_present()
        if (None if present is None else tag_of(present)) != expected:
            raise ObjectChanged("An object was changed by somebody else meanwhile; read it again.")

    def _check_present(self) -> None:
        # Without this, a disk that is not mounted would look like a store that has lost everything.
        if not (self._root / _LOCKS).is_dir():
            raise StoreUnavailable("The directory store's root is gone. Check that its disk is mounted.")

    def _place(self, path: Path, data: bytes | bytearray) -> None:
        """Content durable, then its name, then the names on the way to it; the file's whole content in one step."""
        for attempt in range(_ATTEMPTS):
            try:
                self._make_folder(path.parent)
                self._place_once(path, data)
                sync_folder(path.parent)
                break
            except FileNotFoundError:
                # Somebody found the folder empty and removed it, or swept up the unfinished file.
                if attempt == _ATTEMPTS - 1:
                    raise

    def _place_once(self, path: Path, data: bytes | bytearray) -> None:
        unfinished = path.with_name(path.name + _UNFINISHED)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(unfinished, flags, 0o600)
        try:
            write_and_close(descriptor, data)
            unfinished.replace(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise

    def _make_folder(self, folder: Path) -> None:
        # Durable before anything is in it, so that where a file's name is durable, the names on the way to it are too.
        missing = []
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        if missing:
            self._check_present()
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            sync_folder(folder.parent)

    def _remove(self, path: Path) -> None:
        try:
            path.unlink()
            sync_folder(path.parent)
        except (FileNotFoundError, NotADirectoryError):
            return  # somebody else has removed it, or has done the rest
        self._remove_upwards(path.parent)

    def _remove_upwards(self, folder: Path) -> None:
        """Removes a folder and those that it is in as far as they are empty."""
        while folder != self._root and self._remove_empty(folder):
            folder = folder.parent

    def _remove_empty(self, folder: Path) -> bool:
        """Whether a folder is gone: it was empty, or somebody else has removed it."""
        try:
            folder.rmdir()
            sync_folder(folder.parent)
        except OSError as error:
            return isinstance(error, FileNotFoundError)
        return True


def _unless_gone(error: OSError) -> None:
    # A folder that cannot be listed is not an empty one.
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


def _size_of(path: Path) -> int | None:
    try:
        return path.lstat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return None


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
