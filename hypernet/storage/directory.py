"""The embedded default: adapters in a directory of a local file system."""

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

from hypernet.adapters import Adapter
from hypernet.durable_files import replace_file, sync_folder
from hypernet.errors import AdapterNotFound, StoreCorrupt, StoreUnavailable
from hypernet.storage.keys import TenantScope, UserKey, segment
from hypernet.storage.objects import from_object, is_object, to_object
from hypernet.storage.pointer import Pointer, appended, check_version, existing
from hypernet.storage.store import StoredAdapter

_POINTER = "pointer.json"
_OBJECTS = "objects"
_LOCKS = ".locks"
_LOCK_STRIPES = 256
_LOCK_POLL_S = 0.005


class DirectoryStore:
    """An `AdapterStore` in a directory, for any number of threads and processes of one machine.

    ```
    <root>/.locks/<stripe>
    <root>/<tenant>/<user>/pointer.json                        replaced in one step; this is the commit
    <root>/<tenant>/<user>/objects/<digest>.safetensors        never changed
    ```

    A process killed at any moment leaves every user at the version before its write or at the one after it, and at
    worst files that nothing refers to, which the user's next write removes. The file system must be a local one: it has
    to honour `flock`, `fsync` and atomic renames.
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

    def put(self, key: UserKey, adapter: Adapter, *, if_version: int | None = None) -> StoredAdapter:
        """As `AdapterStore.put`; waits at most `lock_timeout_s` for another writer, then raises `StoreUnavailable`."""
        digest, data = to_object(adapter)
        folder = self._folder(key)
        with self._session(), self._locked(key):
            pointer = self._read_pointer(key)
            check_version(pointer, if_version=if_version)
            if pointer is None:
                self._make_folder(folder)
            self._write_object(folder, digest, data)
            if pointer is None or pointer.record().digest != digest:
                pointer = appended(pointer, key=key, adapter=adapter, digest=digest, size_bytes=len(data))
                self._write_pointer(folder, pointer)
            else:
                # Whoever wrote it may have died, or been told of a failure, before its name was durable.
                sync_folder(folder)
            self._sweep(folder, pointer)
            return pointer.stored()

    def head(self, key: UserKey) -> StoredAdapter:
        """As `AdapterStore.head`."""
        return self._pointer(key).stored()

    def get(self, key: UserKey, *, version: int | None = None) -> tuple[StoredAdapter, Adapter]:
        """As `AdapterStore.get`."""
        pointer = self._pointer(key)
        while True:
            stored = pointer.stored(version)
            with self._session():
                data = _read(_object_path(self._folder(key), stored.digest))
            if data is not None:
                return stored, from_object(data, digest=stored.digest)
            # Readers take no lock: the adapter may have been deleted, and put anew, since its pointer was read.
            latest = self._pointer(key)
            if latest == pointer:
                raise StoreCorrupt("A stored adapter's file is missing; generate it again or restore it from a backup.")
            pointer = latest

    def versions(self, key: UserKey) -> list[StoredAdapter]:
        """As `AdapterStore.versions`."""
        return self._pointer(key).all_stored()

    def activate(self, key: UserKey, version: int, *, if_version: int | None = None) -> StoredAdapter:
        """As `AdapterStore.activate`."""
        with self._session(), self._locked(key):
            present = existing(self._read_pointer(key))
            check_version(present, if_version=if_version)
            pointer = present.activated(version)
            self._write_pointer(self._folder(key), pointer)
            return pointer.stored()

    def users(self, scope: TenantScope, *, after: str | None = None, limit: int = 100) -> list[str]:
        """As `AdapterStore.users`."""
        found: list[str] = []
        with self._session():
            self._check_present()
            for name, folder in sorted(self._user_folders(scope)):
                if len(found) == limit:
                    break
                if (after is None or name > after) and (folder / _POINTER).exists():
                    found.append(name)
        return found

    def delete(self, key: UserKey, *, if_version: int | None = None) -> None:
        """As `AdapterStore.delete`; also removes what a killed process left of this user.

        Without `if_version` the pointer is not parsed, so an adapter that is corrupt can be deleted too.
        """
        folder = self._folder(key)
        with self._session(), self._locked(key):
            if if_version is not None:
                check_version(existing(self._read_pointer(key)), if_version=if_version)
            had_pointer = (folder / _POINTER).exists()
            if had_pointer:
                (folder / _POINTER).unlink()
                sync_folder(folder)
            if folder.exists():
                shutil.rmtree(folder)
                sync_folder(folder.parent)
            if not had_pointer:
                raise AdapterNotFound()

    def check(self) -> None:
        """As `AdapterStore.check`: writes a nameless file and makes it durable."""
        with self._session():
            self._check_present()
            with tempfile.TemporaryFile(dir=self._root) as probe:
                probe.write(b"probe")
                probe.flush()
                os.fsync(probe.fileno())

    def close(self) -> None:
        """Calls after it raise `StoreUnavailable`. What was put stays."""
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
    def _locked(self, key: UserKey) -> Iterator[None]:
        """One writer at a time for this user, among all threads and processes.

        The lock files are a fixed few that nobody ever removes, so no process can hold a lock on a file that another
        one has already replaced. The kernel frees the lock of a process that dies.
        """
        stripe = int(hashlib.sha256(key.prefix.encode()).hexdigest(), 16) % _LOCK_STRIPES
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

    def _folder(self, key: UserKey) -> Path:
        return self._root / key.prefix

    def _pointer(self, key: UserKey) -> Pointer:
        with self._session():
            return existing(self._read_pointer(key))

    def _read_pointer(self, key: UserKey) -> Pointer | None:
        data = _read(self._folder(key) / _POINTER)
        if data is None:
            self._check_present()
            return None
        pointer = Pointer.from_bytes(data)
        if (pointer.tenant, pointer.user) != (key.tenant, key.user):
            raise StoreCorrupt("A stored pointer belongs to another user; restore it from a backup.")
        return pointer

    def _check_present(self) -> None:
        # Without this, a disk that is not mounted would look like a store that has lost every adapter.
        if not (self._root / _LOCKS).is_dir():
            raise StoreUnavailable("The directory store's root is gone. Check that its disk is mounted.")

    def _make_folder(self, folder: Path) -> None:
        # Durable before there is a pointer, so that wherever there is one, the names on the way to it are too.
        (folder / _OBJECTS).mkdir(parents=True, exist_ok=True)
        for parent in (folder, folder.parent, self._root):
            sync_folder(parent)

    def _write_object(self, folder: Path, digest: str, data: bytes) -> None:
        path = _object_path(folder, digest)
        present = _read(path)
        if present is None or not is_object(present, digest=digest):
            replace_file(path, data)
        # Also for an object that is there already: whoever wrote it may have died before its name was durable.
        sync_folder(path.parent)

    def _write_pointer(self, folder: Path, pointer: Pointer) -> None:
        replace_file(folder / _POINTER, pointer.to_bytes())
        sync_folder(folder)

    def _sweep(self, folder: Path, pointer: Pointer) -> None:
        """Removes what killed writers left; under the user's lock nobody else is writing."""
        wanted = {_POINTER, _OBJECTS} | {_object_path(folder, record.digest).name for record in pointer.versions}
        try:
            for path in [*folder.iterdir(), *(folder / _OBJECTS).iterdir()]:
                if path.name not in wanted:
                    path.unlink()
        except OSError:
            # The write it comes after is durable already, and the next one tries again.
            pass

    def _user_folders(self, scope: TenantScope) -> Iterator[tuple[str, Path]]:
        folder = self._root / scope.prefix
        if not folder.is_dir():
            return
        for path in folder.iterdir():
            if not path.name.isascii():  # somebody else's, and perhaps not even text
                continue
            name = unquote(path.name)
            if segment(name) != path.name and (data := _read(path / _POINTER)) is not None:
                # A long name's segment ends in a hash; the name itself is in the pointer.
                name = Pointer.from_bytes(data).user
            if segment(name) == path.name:
                yield name, path


def _object_path(folder: Path, digest: str) -> Path:
    return folder / _OBJECTS / f"{digest}.safetensors"


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
