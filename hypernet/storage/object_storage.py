"""Named bytes with one atomic operation: what an adapter store needs of a disk or a server, and no more."""

import hashlib
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """The bytes of an object and the tag of this state of it; another state has another tag."""

    data: bytes = field(repr=False)
    tag: str


@runtime_checkable
class ObjectStorage(Protocol):
    """Objects by name, safe to call from many threads and, unless in memory, from many processes.

    A name is made of segments of `a-z 0-9 . _ - % ~`, parted by `/`. A reader sees an object whole or not at all, and
    reads what the last finished write wrote. What a write has returned for survives a crash. Every call may raise
    `StoreUnavailable`; after a write that raised it, the object may be there or not.
    """

    def read(self, name: str) -> StoredObject | None:
        """The object; None if there is none."""
        ...

    def write(self, name: str, data: bytes | bytearray) -> None:
        """Writes an object that never changes; durable when it returns. Names are not used twice."""
        ...

    def swap(self, name: str, data: bytes, *, expected: str | None) -> str:
        """Replaces the object if its tag is `expected` (None: if there is none), in one step; its new tag.

        Durable when it returns. No two states of one object may have the same bytes. Raises: `ObjectChanged`.
        """
        ...

    def settle(self, name: str) -> None:
        """Makes durable what `read` gives, where whoever wrote it may have died before it was."""
        ...

    def remove(self, name: str) -> None:
        """Removes the object if there is one."""
        ...

    def remove_if(self, name: str, *, expected: str) -> bool:
        """Removes the object if its tag is `expected`, in one step; False where the server cannot do that.

        Raises: `ObjectChanged`.
        """
        ...

    def names(self, prefix: str, *, after: str | None = None, limit: int | None = None) -> dict[str, int]:
        """Sizes in bytes of the objects whose names begin with `prefix`, which ends in `/`, by name and in its order.

        All of them, which suits those of one user; or up to `limit`, those after the name `after`.
        """
        ...

    def folders(self, prefix: str, *, after: str | None = None, limit: int = 1000) -> list[str]:
        """Up to `limit` next segments of the names that go on behind `prefix`, which ends in `/`, each once.

        In the order of `f"{segment}/"`, those after `after`. Segments that begin with a dot are left out.
        """
        ...

    def tidy(self, prefix: str) -> None:
        """Removes what there is of names that begin with `prefix`, which ends in `/`, if no object has such a name.

        A storage with folders may have empty ones where a process died. Safe beside writers.
        """
        ...

    def check(self) -> None:
        """Returns if there is something to read from and to write to."""
        ...

    def close(self) -> None:
        """Frees what is held; calls after it raise `StoreUnavailable`. Idempotent."""
        ...


def tag_of(data: bytes) -> str:
    """The tag of a state, for storages that have no better one: a digest of its bytes."""
    return hashlib.sha256(data).hexdigest()
