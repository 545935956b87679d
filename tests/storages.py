"""Stores over storages of objects, and a storage that stands in front of another one."""

from typing import Any

from hypernet.storage import AdapterStore, TenantScope
from hypernet.storage.key_provider import HeldKeys
from hypernet.storage.object_storage import ObjectStorage, StoredObject
from hypernet.storage.sealing import new_key

ACME = TenantScope("acme")
ADA = ACME.user("ada")
ROOT_KEYS = HeldKeys([new_key()])

Storages = tuple[ObjectStorage, ObjectStorage]
"""Where the adapters lie, and where the keys do."""


def store_of(storages: Storages, **options: Any) -> AdapterStore:
    """A store over two storages, under root keys that are the same for all."""
    return AdapterStore(objects=storages[0], keys=storages[1], **({"provider": ROOT_KEYS} | options))


class Wrapped:
    """Passes every call on; what a test changes, it overrides."""

    def __init__(self, inner: ObjectStorage) -> None:
        self.inner = inner

    def read(self, name: str) -> StoredObject | None:
        return self.inner.read(name)

    def write(self, name: str, data: bytes | bytearray) -> None:
        self.inner.write(name, data)

    def swap(self, name: str, data: bytes, *, expected: str | None) -> str:
        return self.inner.swap(name, data, expected=expected)

    def settle(self, name: str) -> None:
        self.inner.settle(name)

    def remove(self, name: str) -> None:
        self.inner.remove(name)

    def remove_if(self, name: str, *, expected: str) -> bool:
        return self.inner.remove_if(name, expected=expected)

    def names(self, prefix: str, *, after: str | None = None, limit: int | None = None) -> dict[str, int]:
        return self.inner.names(prefix, after=after, limit=limit)

    def folders(self, prefix: str, *, after: str | None = None, limit: int = 1000) -> list[str]:
        return self.inner.folders(prefix, after=after, limit=limit)

    def tidy(self, prefix: str) -> None:
        self.inner.tidy(prefix)

    def check(self) -> None:
        self.inner.check()

    def close(self) -> None:
        self.inner.close()
