"""The pointer: the one small thing per user that changes, as a value and as bytes.

The rules of versions live here, as pure functions, so that they do not depend on where a pointer is kept.
"""

import hmac
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypernet.adapters import Adapter
from hypernet.errors import AdapterNotFound, PreconditionFailed, StoreCorrupt, VersionNotFound
from hypernet.storage.keys import UserPath
from hypernet.storage.sealing import DataKey, key_id_of, seal, unseal
from hypernet.storage.stored_adapter import StoredAdapter

_FORMAT = 2
_COMMITS_KEPT = 64
_FENCE_SIGN = "."
"""How names of changes begin that change nothing a reader sees, and that no audit log tells of."""


@dataclass(frozen=True, kw_only=True)
class VersionRecord:
    """One version as the pointer keeps it."""

    version: int
    object: str
    """Last segment of the object's name; no two writes have the same."""
    digest: str
    rank: int
    size_bytes: int
    created_at: str
    """ISO 8601, in UTC."""
    base_model_digest: str
    document_digest: str


@dataclass(frozen=True, kw_only=True)
class Owed:
    """An erasure that is not over: the name of that change, and where in the audit log it was announced."""

    change: str
    lane: str
    segment: int
    line: int


@dataclass(frozen=True, kw_only=True)
class Pointer:
    """A user's versions, oldest first, and which one is active; none of either where the adapter was deleted."""

    user: str = field(default="", repr=False)
    """Whose it is: a long name cannot be read from a path. Empty where there is no version."""
    active: int
    versions: tuple[VersionRecord, ...]
    commits: tuple[str, ...]
    """Names of the last changes, newest last: how a writer that lost an answer finds out whether it was heard."""
    owed: Owed | None = None
    """The erasure that this state came from, until everything is gone that it was to remove."""

    def record(self, version: int | None = None) -> VersionRecord:
        """A version's record; the active one's if none is named. Raises: `VersionNotFound`."""
        wanted = self.active if version is None else version
        for record in self.versions:
            if record.version == wanted:
                return record
        first, last = self.versions[0].version, self.versions[-1].version
        raise VersionNotFound(f"No version {wanted}: this adapter has versions {first} to {last}.")

    def stored(self, version: int | None = None) -> StoredAdapter:
        """A version as callers of the store see it. Raises: `VersionNotFound`."""
        record = self.record(version)
        fields = vars(record) | {"created_at": datetime.fromisoformat(record.created_at)}
        del fields["object"]
        return StoredAdapter(user=self.user, active=record.version == self.active, **fields)

    def to_bytes(self) -> bytes:
        """JSON, of a pointer with versions."""
        content = {
            "format": _FORMAT,
            "user": self.user,
            "active": self.active,
            "versions": [vars(record) for record in self.versions],
            "commits": self.commits,
        }
        return _canonical(content)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Pointer":
        """Reads what `to_bytes` wrote. Raises: `StoreCorrupt` if it is not exactly that."""
        try:
            content = json.loads(data)
            _check_format(content.pop("format"))
            records = tuple(VersionRecord(**record) for record in content.pop("versions"))
            return cls(versions=records, commits=tuple(content.pop("commits")), **content)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise StoreCorrupt("A stored pointer cannot be read; restore it from a backup.") from None


@dataclass(frozen=True, kw_only=True)
class Retention:
    """Which versions are kept: the newest `versions` of them and all that are younger than `days`, and the active one.

    All of them by default.
    """

    versions: int | None = None
    days: float | None = None

    def kept(self, pointer: Pointer, *, now: datetime | None = None) -> Pointer:
        """The pointer without the versions that need not be kept."""
        if self.versions is None:
            return pointer
        newest = {record.version for record in pointer.versions[-self.versions :]}
        since = None if self.days is None else (now or datetime.now(UTC)) - timedelta(days=self.days)
        records = tuple(
            record
            for record in pointer.versions
            if record.version in newest
            or record.version == pointer.active
            or (since is not None and datetime.fromisoformat(record.created_at) > since)
        )
        return replace(pointer, versions=records)


Vouch = Callable[[str], str]
"""What only the store can say of a message: how a pointer without a key is told from a forged one."""

VACANT = Pointer(active=0, versions=(), commits=())
"""Of a user whose adapter was deleted, or who never had one."""


def existing(pointer: Pointer) -> Pointer:
    """The pointer. Raises: `AdapterNotFound` where it has no version."""
    if not pointer.versions:
        raise AdapterNotFound()
    return pointer


def is_at(pointer: Pointer, *, if_version: int | None, if_digest: str | None) -> bool:
    """Whether `check_version` would return."""
    is_version = if_version is None or if_version == pointer.active
    return is_version and (if_digest is None or (bool(pointer.versions) and pointer.record().digest == if_digest))


def check_version(pointer: Pointer, *, if_version: int | None, if_digest: str | None) -> None:
    """Returns if `if_version` is None or the active version (0: there is none), and `if_digest` is None or its digest.

    Raises: `PreconditionFailed`.
    """
    if is_at(pointer, if_version=if_version, if_digest=if_digest):
        return
    if if_version not in (None, pointer.active):
        raise PreconditionFailed(
            f"Expected version {if_version} to be active, it is {pointer.active} (0 means none). Read it again, then "
            "decide.",
            expected=if_version,
            actual=pointer.active,
        )
    raise PreconditionFailed(
        "Expected another adapter to be active. Read it again, then decide.",
        expected=if_version,
        actual=pointer.active,
    )


def new_record(adapter: Adapter, *, version: int, name: str, digest: str, size_bytes: int) -> VersionRecord:
    """The record of an adapter that is stored now."""
    return VersionRecord(
        version=version,
        object=name,
        digest=digest,
        rank=adapter.rank,
        size_bytes=size_bytes,
        created_at=datetime.now(UTC).isoformat(),
        base_model_digest=adapter.provenance.base_model_digest,
        document_digest=adapter.provenance.document_digest,
    )


def appended(pointer: Pointer, record: VersionRecord, *, user: str, commit: str) -> Pointer:
    """The pointer with a record as its newest version, and active."""
    versions = (*pointer.versions, record)
    return committed(replace(pointer, user=user, active=record.version, versions=versions), commit)


def next_version(pointer: Pointer) -> int:
    """The number that the next version has: versions count from 1 without gaps, old ones may be gone."""
    return pointer.versions[-1].version + 1 if pointer.versions else 1


def activated(pointer: Pointer, version: int, *, commit: str) -> Pointer:
    """The pointer with another active version. Raises: `VersionNotFound`."""
    return committed(replace(pointer, active=pointer.record(version).version), commit)


def renamed(pointer: Pointer, version: int, *, name: str, commit: str) -> Pointer:
    """The pointer with another object for a version."""
    records = tuple(
        replace(record, object=name) if record.version == version else record for record in pointer.versions
    )
    return committed(replace(pointer, versions=records), commit)


def fenced(pointer: Pointer) -> Pointer:
    """The pointer in another state that says the same: whoever expects the one before has to look again."""
    return committed(pointer, f"{_FENCE_SIGN}{os.urandom(16).hex()}")


def committed(pointer: Pointer, commit: str) -> Pointer:
    """The pointer with the name of a change. No two pointers are equal that way, whatever was changed."""
    return replace(pointer, commits=(*pointer.commits, commit)[-_COMMITS_KEPT:])


def named_changes(pointer: Pointer) -> list[str]:
    """Names of the last changes that an audit log tells of."""
    return [commit for commit in pointer.commits if not commit.startswith(_FENCE_SIGN)]


def to_bytes_of(pointer: Pointer, *, key: UserPath, data_key: DataKey | None, vouch: Vouch) -> bytes:
    """A pointer as it is kept: sealed under the user's key; where it has none, in the clear, and vouched for."""
    if data_key is not None:
        return seal(pointer.to_bytes(), key=data_key, place=_place(key))
    content = {"format": _FORMAT, "vacant": True, "commits": list(pointer.commits)}
    if pointer.owed is not None:
        content["owed"] = vars(pointer.owed)
    return _canonical(content | {"vouched": vouch(_canonical(content).decode())})


def is_live(data: bytes) -> bool:
    """Whether a kept pointer has versions, as far as can be told without its key."""
    return not data.startswith(b"{")


def key_of(data: bytes) -> str | None:
    """The name of the key under which a kept pointer is sealed; None for a vacant one. Raises: `StoreCorrupt`."""
    return key_id_of(data) if is_live(data) else None


def from_bytes_of(data: bytes, *, key: UserPath, data_key: DataKey | None, vouch: Vouch) -> Pointer:
    """The pointer that `to_bytes_of` was given. Raises: `StoreCorrupt`, for another user's too."""
    if data_key is not None:
        return Pointer.from_bytes(unseal(data, key=data_key, place=_place(key)))
    try:
        content = json.loads(data)
        vouched = content.pop("vouched")
        _check_format(content["format"])
        if not hmac.compare_digest(vouched, vouch(_canonical(content).decode())):
            raise ValueError
        owed = Owed(**content["owed"]) if "owed" in content else None
        return replace(VACANT, commits=tuple(content["commits"]), owed=owed)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise StoreCorrupt("A stored pointer was changed; restore it from a backup, or erase the user.") from None


def _check_format(found: object) -> None:
    if found != _FORMAT:
        raise StoreCorrupt(
            f"A stored pointer is of format {found!r}, this version reads {_FORMAT}. Use the version of this program "
            "that wrote it, or a newer one."
        )


def _place(key: UserPath) -> tuple[str, ...]:
    return ("pointer", key.prefix)


def _canonical(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
