"""What every adapter store promises."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from hypernet.adapters import Adapter
from hypernet.storage.keys import TenantScope, UserKey


@dataclass(frozen=True, kw_only=True)
class StoredAdapter:
    """What a store knows of one version of one user's adapter."""

    user: str = field(repr=False)
    version: int
    """Counts from 1 for each user, without gaps, and starts again after a deletion."""
    digest: str
    rank: int
    size_bytes: int
    created_at: datetime
    """In UTC."""
    active: bool
    """Whether this is the version that is served."""
    base_model_digest: str
    document_digest: str


class AdapterStore(Protocol):
    """Adapters by user, with versions, safe to call from many threads.

    One version of each user is the active one. Objects never change; the one thing that does is a small pointer per
    user, changed in a single step, so a reader sees the state before a write or after it and nothing between. Every
    call may raise `StoreUnavailable` and, where it reads, `StoreCorrupt`.
    """

    def put(self, key: UserKey, adapter: Adapter, *, if_version: int | None = None) -> StoredAdapter:
        """Makes the adapter the user's active version; it is durable when this returns.

        An adapter equal to the active one is not stored again: the answer is the active version. With `if_version`, the
        write happens only if that version is the active one (0: only if the user has none), decided in the same step.

        Raises: `AdapterInvalid`, `PreconditionFailed`.
        """
        ...

    def head(self, key: UserKey) -> StoredAdapter:
        """The active version, without its tensors. Raises: `AdapterNotFound`."""
        ...

    def get(self, key: UserKey, *, version: int | None = None) -> tuple[StoredAdapter, Adapter]:
        """A version (the active one if none is named) with its tensors, its digest checked.

        Raises: `AdapterNotFound`, `VersionNotFound`, `StoreCorrupt` where the bytes are not those that were put.
        """
        ...

    def versions(self, key: UserKey) -> list[StoredAdapter]:
        """All versions, oldest first. Raises: `AdapterNotFound`."""
        ...

    def activate(self, key: UserKey, version: int, *, if_version: int | None = None) -> StoredAdapter:
        """Makes an existing version the active one; durable when it returns. `if_version` as in `put`.

        Raises: `AdapterNotFound`, `VersionNotFound`, `PreconditionFailed`.
        """
        ...

    def users(self, scope: TenantScope, *, after: str | None = None, limit: int = 100) -> list[str]:
        """Up to `limit` names of this tenant's users who have an adapter, in code point order, those after `after`."""
        ...

    def delete(self, key: UserKey, *, if_version: int | None = None) -> None:
        """Removes the user's adapter with all its versions. `if_version` as in `put`.

        Raises: `AdapterNotFound`, `PreconditionFailed`.
        """
        ...

    def check(self) -> None:
        """Returns if the store can be written to. Raises: `StoreUnavailable`."""
        ...

    def close(self) -> None:
        """Frees what the store holds. What was put stays where it is."""
        ...
