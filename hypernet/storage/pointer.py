"""The pointer: the one small thing per user that changes, as a value and as bytes.

The rules of versions live here, as pure functions, so that every store has the same ones and differs only in how it
replaces a pointer in one step.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from hypernet.adapters import Adapter
from hypernet.errors import AdapterNotFound, PreconditionFailed, StoreCorrupt, VersionNotFound
from hypernet.storage.keys import UserKey
from hypernet.storage.store import StoredAdapter

_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class VersionRecord:
    """One version as the pointer keeps it."""

    version: int
    digest: str
    rank: int
    size_bytes: int
    created_at: str
    """ISO 8601, in UTC."""
    base_model_digest: str
    document_digest: str


@dataclass(frozen=True, kw_only=True)
class Pointer:
    """A user's versions, oldest first, and which one is active. There is at least one."""

    tenant: str = field(repr=False)
    user: str = field(repr=False)
    active: int
    versions: tuple[VersionRecord, ...]

    def record(self, version: int | None = None) -> VersionRecord:
        """A version's record; the active one's if none is named. Raises: `VersionNotFound`."""
        wanted = self.active if version is None else version
        if not 1 <= wanted <= len(self.versions):
            raise VersionNotFound(f"No version {wanted}: this adapter has versions 1 to {len(self.versions)}.")
        return self.versions[wanted - 1]

    def activated(self, version: int) -> "Pointer":
        """The pointer with another active version. Raises: `VersionNotFound`."""
        return replace(self, active=self.record(version).version)

    def stored(self, version: int | None = None) -> StoredAdapter:
        """A version as callers of the store see it. Raises: `VersionNotFound`."""
        record = self.record(version)
        fields = asdict(record) | {"created_at": datetime.fromisoformat(record.created_at)}
        return StoredAdapter(user=self.user, active=record.version == self.active, **fields)

    def all_stored(self) -> list[StoredAdapter]:
        """Every version as callers of the store see it, oldest first."""
        return [self.stored(record.version) for record in self.versions]

    def to_bytes(self) -> bytes:
        """JSON with a checksum of the rest in it."""
        content = asdict(self) | {"format": _FORMAT}
        return _canonical(content | {"checksum": _checksum(content)})

    @classmethod
    def from_bytes(cls, data: bytes) -> "Pointer":
        """Reads what `to_bytes` wrote. Raises: `StoreCorrupt` if it is not exactly that."""
        try:
            content = json.loads(data)
            if content.pop("checksum") != _checksum(content) or content.pop("format") != _FORMAT:
                raise ValueError
            records = tuple(VersionRecord(**record) for record in content.pop("versions"))
            return cls(versions=records, **content)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise StoreCorrupt(
                "A stored pointer does not match its checksum, or is of another format; restore it from a backup."
            ) from None


def existing(pointer: Pointer | None) -> Pointer:
    """The pointer. Raises: `AdapterNotFound` for None."""
    if pointer is None:
        raise AdapterNotFound()
    return pointer


def check_version(pointer: Pointer | None, *, if_version: int | None) -> None:
    """Returns if `if_version` is None or the active version (0: there is none). Raises: `PreconditionFailed`."""
    actual = 0 if pointer is None else pointer.active
    if if_version is not None and if_version != actual:
        raise PreconditionFailed(
            f"Expected version {if_version} to be active, it is {actual} (0 means none). Read it again, then decide.",
            expected=if_version,
            actual=actual,
        )


def appended(pointer: Pointer | None, *, key: UserKey, adapter: Adapter, digest: str, size_bytes: int) -> Pointer:
    """The pointer with the adapter as its newest version, and active."""
    records = () if pointer is None else pointer.versions
    record = VersionRecord(
        version=len(records) + 1,
        digest=digest,
        rank=adapter.rank,
        size_bytes=size_bytes,
        created_at=datetime.now(UTC).isoformat(),
        base_model_digest=adapter.provenance.base_model_digest,
        document_digest=adapter.provenance.document_digest,
    )
    return Pointer(tenant=key.tenant, user=key.user, active=record.version, versions=(*records, record))


def _canonical(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical(content)).hexdigest()
