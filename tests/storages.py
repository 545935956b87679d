"""A storage of objects that stands in front of another one."""

from hypernet.storage.object_storage import ObjectStorage, StoredObject


class Wrapped:
    """Passes every call on; what a test changes, it overrides."""

    def __init__(self, inner: ObjectStorage) -> None:
        self.inner = inner

    def read(self, name: str) -> StoredObject | None:
        return self.inner.read(name)

    def write(self, name: str, data: bytes) -> None:
        self.inner.write(name, data)

    def swap(self, name: str, data: bytes, *, expected: str | None) -> str:
        return self.inner.swap(name, data, expected=expected)

    def settle(self, name: str) -> None:
        self.inner.settle(name)

    def remove(self, name: str) -> None:
        self.inner.remove(name)

    def remove_if(self, name: str, *, expected: str) -> bool:
        return self.inner.remove_if(name, expected=expected)

    def names(self, prefix: str) -> list[str]:
        return self.inner.names(prefix)

    def folders(self, prefix: str, *, after: str | None = None, limit: int = 1000) -> list[str]:
        return self.inner.folders(prefix, after=after, limit=limit)

    def check(self) -> None:
        self.inner.check()

    def close(self) -> None:
        self.inner.close()
