"""Objects in memory: for tests and notebooks."""

import threading

from hypernet.errors import ObjectChanged, StoreUnavailable
from hypernet.storage.object_storage import StoredObject, tag_of


class MemoryObjects:
    """An `ObjectStorage` that lives as long as the object: nothing in it is durable."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._objects: dict[str, bytes] = {}
        self._closed = False

    def read(self, name: str) -> StoredObject | None:
        """As `ObjectStorage.read`."""
        with self._lock:
            data = self._opened().get(name)
        return None if data is None else StoredObject(data=data, tag=tag_of(data))

    def write(self, name: str, data: bytes | bytearray) -> None:
        """As `ObjectStorage.write`, without durability."""
        with self._lock:
            self._opened()[name] = bytes(data)

    def swap(self, name: str, data: bytes, *, expected: str | None) -> str:
        """As `ObjectStorage.swap`, without durability."""
        with self._lock:
            self._check(name, expected)
            self._objects[name] = bytes(data)
        return tag_of(data)

    def settle(self, name: str) -> None:
        """As `ObjectStorage.settle`: nothing to do."""

    def remove(self, name: str) -> None:
        """As `ObjectStorage.remove`."""
        with self._lock:
            self._opened().pop(name, None)

    def remove_if(self, name: str, *, expected: str) -> bool:
        """As `ObjectStorage.remove_if`; always can."""
        with self._lock:
            self._check(name, expected)
            del self._objects[name]
        return True

    def names(self, prefix: str, *, after: str | None = None, limit: int | None = None) -> dict[str, int]:
        """As `ObjectStorage.names`."""
        with self._lock:
            found = sorted(
                name for name in self._opened() if name.startswith(prefix) and (after is None or name > after)
            )
            return {name: len(self._objects[name]) for name in found[:limit]}

    def folders(self, prefix: str, *, after: str | None = None, limit: int = 1000) -> list[str]:
        """As `ObjectStorage.folders`."""
        with self._lock:
            behind = {
                name[len(prefix) :].partition("/")[0] + "/"
                for name in self._opened()
                if name.startswith(prefix) and "/" in name[len(prefix) :]
            }
        found = sorted(name for name in behind if name[0] != "." and (after is None or name > f"{after}/"))
        return [name[:-1] for name in found[:limit]]

    def tidy(self, prefix: str) -> None:
        """As `ObjectStorage.tidy`: there are no folders here."""

    def check(self) -> None:
        """As `ObjectStorage.check`."""
        with self._lock:
            self._opened()

    def close(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._closed = True
            self._objects.clear()

    def _opened(self) -> dict[str, bytes]:
        if self._closed:
            raise StoreUnavailable("The store is closed.")
        return self._objects

    def _check(self, name: str, expected: str | None) -> None:
        present = self._opened().get(name)
        if (None if present is None else tag_of(present)) != expected:
            raise ObjectChanged("An object was changed by somebody else meanwhile; read it again.")
