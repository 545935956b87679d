"""The store for tests and notebooks."""

import heapq
import threading

from hypernet.adapters import Adapter
from hypernet.errors import StoreUnavailable
from hypernet.storage.keys import TenantScope, UserKey
from hypernet.storage.objects import from_object, to_object
from hypernet.storage.pointer import Pointer, appended, check_version, existing
from hypernet.storage.store import StoredAdapter


class MemoryStore:
    """An `AdapterStore` that lives as long as the object: nothing in it is durable.

    It keeps the same bytes as the others, so what comes out has been through the same checks.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pointers: dict[UserKey, Pointer] = {}
        self._objects: dict[UserKey, dict[str, bytes]] = {}
        self._closed = False

    def put(self, key: UserKey, adapter: Adapter, *, if_version: int | None = None) -> StoredAdapter:
        """As `AdapterStore.put`, without durability."""
        digest, data = to_object(adapter)
        with self._lock:
            self._check_open()
            pointer = self._pointers.get(key)
            check_version(pointer, if_version=if_version)
            if pointer is None or pointer.record().digest != digest:
                self._objects.setdefault(key, {})[digest] = data
                pointer = appended(pointer, key=key, adapter=adapter, digest=digest, size_bytes=len(data))
                self._pointers[key] = pointer
            return pointer.stored()

    def head(self, key: UserKey) -> StoredAdapter:
        """As `AdapterStore.head`."""
        return self._pointer(key).stored()

    def get(self, key: UserKey, *, version: int | None = None) -> tuple[StoredAdapter, Adapter]:
        """As `AdapterStore.get`."""
        with self._lock:
            self._check_open()
            stored = existing(self._pointers.get(key)).stored(version)
            data = self._objects[key][stored.digest]
        return stored, from_object(data, digest=stored.digest)

    def versions(self, key: UserKey) -> list[StoredAdapter]:
        """As `AdapterStore.versions`."""
        return self._pointer(key).all_stored()

    def activate(self, key: UserKey, version: int, *, if_version: int | None = None) -> StoredAdapter:
        """As `AdapterStore.activate`, without durability."""
        with self._lock:
            self._check_open()
            pointer = existing(self._pointers.get(key))
            check_version(pointer, if_version=if_version)
            self._pointers[key] = pointer.activated(version)
            return self._pointers[key].stored()

    def users(self, scope: TenantScope, *, after: str | None = None, limit: int = 100) -> list[str]:
        """As `AdapterStore.users`."""
        with self._lock:
            self._check_open()
            names = [key.user for key in self._pointers if key.scope == scope]
        return heapq.nsmallest(limit, (name for name in names if after is None or name > after))

    def delete(self, key: UserKey, *, if_version: int | None = None) -> None:
        """As `AdapterStore.delete`."""
        with self._lock:
            self._check_open()
            check_version(existing(self._pointers.get(key)), if_version=if_version)
            del self._pointers[key], self._objects[key]

    def check(self) -> None:
        """As `AdapterStore.check`."""
        with self._lock:
            self._check_open()

    def close(self) -> None:
        """Forgets everything; calls after it raise `StoreUnavailable`."""
        with self._lock:
            self._closed = True
            self._pointers.clear()
            self._objects.clear()

    def _pointer(self, key: UserKey) -> Pointer:
        with self._lock:
            self._check_open()
            return existing(self._pointers.get(key))

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("The store is closed.")
