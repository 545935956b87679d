"""The adapter store: versions, rollback, encryption and erasure over any storage of objects."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from hypernet.adapters import Adapter
from hypernet.errors import AdapterNotFound, ObjectChanged, StoreCorrupt, StoreUnavailable
from hypernet.storage import adapter_bytes, pointer
from hypernet.storage.directory import DirectoryObjects
from hypernet.storage.key_provider import HeldKeys, KeyProvider
from hypernet.storage.key_ring import KeyRing
from hypernet.storage.keys import TenantScope, UserKey, UserPath, segment
from hypernet.storage.memory import MemoryObjects
from hypernet.storage.object_storage import ObjectStorage
from hypernet.storage.pointer import VACANT, Pointer, Retention, VersionRecord, check_version, existing, new_record
from hypernet.storage.sealing import DataKey, new_key, seal, unseal
from hypernet.storage.stored_adapter import StoredAdapter

_KEEP_ALL = Retention()
_POINTER = "pointer"
_UNKNOWN = "The answer to a write was lost, and others wrote since; read it again to see whether it was made."


@dataclass(frozen=True, kw_only=True)
class _Read:
    """A pointer as it was read: with the tag of that state, and the key that it and its objects are sealed under."""

    pointer: Pointer
    tag: str | None
    data_key: DataKey | None


class AdapterStore:
    """Adapters by user, with versions, sealed under a key of each user; safe to call from many threads and processes.

    One version of each user is the active one. Objects never change and are named once; the one thing that does change
    is a small pointer per user, replaced in a single step, so a reader sees the state before a write or after it and
    nothing between. Every call may raise `StoreUnavailable` and, where it reads, `StoreCorrupt`.

    ```
    <tenant>/<user>/pointer            replaced in one step; this is the commit
    <tenant>/<user>/objects/<name>     never changed, never named again
    ```

    A process that dies leaves every user at the version before its write or at the one after it, and at worst objects
    that nothing refers to, which `sweep` removes.
    """

    def __init__(
        self, *, objects: ObjectStorage, keys: ObjectStorage, provider: KeyProvider, retention: Retention = _KEEP_ALL
    ) -> None:
        """A store over ``objects``, with its keys in ``keys``, which ought to be backed up apart from them."""
        self._objects = objects
        self._keys = KeyRing(objects=keys, provider=provider)
        self._retention = retention

    @classmethod
    def in_memory(cls, *, retention: Retention = _KEEP_ALL) -> "AdapterStore":
        """A store that lives as long as the object, for tests and notebooks."""
        return cls(objects=MemoryObjects(), keys=MemoryObjects(), provider=HeldKeys([new_key()]), retention=retention)

    @classmethod
    def in_directory(
        cls, root: Path | str, *, provider: KeyProvider, retention: Retention = _KEEP_ALL, lock_timeout_s: float = 30.0
    ) -> "AdapterStore":
        """A store in `adapters/` and `keys/` of a local directory, which is made.

        Raises: `StoreUnavailable`, also for a directory that an older version of this program wrote to.
        """
        if next(Path(root).glob("*/*/pointer.json"), None) is not None:
            raise StoreUnavailable(
                "The store's folder was written by an older version of this program, unencrypted. Export its adapters "
                "with that version, or name another folder."
            )
        objects, keys = (
            DirectoryObjects(Path(root) / name, lock_timeout_s=lock_timeout_s) for name in ("adapters", "keys")
        )
        return cls(objects=objects, keys=keys, provider=provider, retention=retention)

    def put(
        self, key: UserKey, adapter: Adapter, *, if_version: int | None = None, if_digest: str | None = None
    ) -> StoredAdapter:
        """Makes the adapter the user's active version; it is durable when this returns.

        An adapter equal to the active one is not stored again: the answer is the active version. With `if_version`, the
        write happens only if that version is the active one (0: only if the user has none), decided in the same step;
        with `if_digest`, only if the active one is that adapter: versions count from 1 again after a deletion.

        Raises: `AdapterInvalid`, `PreconditionFailed`.
        """
        digest, data = adapter_bytes.to_bytes(adapter)
        commit = _new_name()
        while True:
            found = self._read(key)
            present = found.pointer
            check_version(present, if_version=if_version, if_digest=if_digest)
            mended = None
            if present.versions and present.record().digest == digest:
                if self._is_sound(key, found, present.record()):
                    self._objects.settle(_pointer_name(key))
                    return present.stored()
                mended = present.active
            if found.tag is None:
                # "Nothing there" is not a state that is never there again, so nothing is committed on it.
                reserved = self._reserve(key)
                if reserved is None:
                    continue
                found, present = reserved, reserved.pointer
            data_key = found.data_key or self._keys.make(key)
            version = mended or pointer.next_version(present)
            name = self._write_object(key, data, data_key=data_key, digest=digest, version=version)
            if mended:
                changed = pointer.renamed(present, mended, name=name, commit=commit)
            else:
                record = new_record(adapter, version=version, name=name, digest=digest, size_bytes=len(data))
                changed = pointer.appended(present, record, user=key.user, commit=commit)
            changed = self._retention.kept(changed)
            try:
                self._swap(key, changed, found, data_key)
            except ObjectChanged as error:
                if not self._was_made(key, found, commit, error):
                    # A sweep may have been ahead, and have removed this object: the next attempt writes another.
                    self._remove(key, ([_object_name(key, name)], [] if found.data_key else [data_key.key_id]))
                    continue
            self._forget(key, present, changed)
            return changed.stored()

    def head(self, key: UserKey) -> StoredAdapter:
        """The active version, without its tensors. Raises: `AdapterNotFound`."""
        return existing(self._read(key).pointer).stored()

    def get(self, key: UserKey, *, version: int | None = None) -> tuple[StoredAdapter, Adapter]:
        """A version (the active one if none is named) with its tensors, its digest checked.

        Raises: `AdapterNotFound`, `VersionNotFound`, `StoreCorrupt` where the bytes are not those that were put.
        """
        found = self._read(key)
        while True:
            record = existing(found.pointer).record(version)
            data = self._read_object(key, found, record)
            if data is not None:
                return found.pointer.stored(record.version), adapter_bytes.from_bytes(data, digest=record.digest)
            # It may have been deleted, or pruned, since its pointer was read.
            latest = self._read(key)
            if latest.tag == found.tag:
                raise StoreCorrupt(
                    "A stored adapter's object is missing; generate it again or restore it from a backup."
                )
            found = latest

    def versions(self, key: UserKey) -> list[StoredAdapter]:
        """All versions, oldest first. Raises: `AdapterNotFound`."""
        present = existing(self._read(key).pointer)
        return [present.stored(record.version) for record in present.versions]

    def activate(
        self, key: UserKey, version: int, *, if_version: int | None = None, if_digest: str | None = None
    ) -> StoredAdapter:
        """Makes an existing version the active one; durable when it returns. Conditions as in `put`.

        Raises: `AdapterNotFound`, `VersionNotFound`, `PreconditionFailed`.
        """
        commit = _new_name()
        while True:
            found = self._read(key)
            present = existing(found.pointer)
            check_version(present, if_version=if_version, if_digest=if_digest)
            changed = pointer.activated(present, version, commit=commit)
            try:
                self._swap(key, changed, found, found.data_key)
            except ObjectChanged as error:
                if not self._was_made(key, found, commit, error):
                    continue
            return changed.stored()

    def users(self, scope: TenantScope, *, after: str | None = None, limit: int = 100) -> list[str]:
        """Up to `limit` names of this tenant's users who have an adapter, those after `after`.

        In the order of the paths that names are rendered as: alphabetical for names of lower-case letters.
        """
        found: list[str] = []
        last = None if after is None else segment(after)
        while len(found) < limit:
            page = self._objects.folders(scope.prefix, after=last, limit=limit)
            for folder in page:
                if len(found) < limit and (name := self._user_in(scope, folder)) is not None:
                    found.append(name)
            if len(page) < limit:
                break
            last = page[-1]
        return found

    def delete(self, key: UserKey, *, if_version: int | None = None, if_digest: str | None = None) -> None:
        """Removes the user's adapter with all its versions and destroys its key. Conditions as in `put`.

        Without a condition an adapter that can no longer be read can be deleted too. What a process that died left of
        this user goes as well. Raises: `AdapterNotFound`, `PreconditionFailed`.
        """
        commit = _new_name()
        while True:
            # Listed between a state and the swap that expects it: everything that this state refers to is in the list,
            # and what is written later belongs to a writer who knows of the swap.
            present = self._objects.read(_pointer_name(key))
            listed = self._listed(key)
            if present is None and self._objects.read(_pointer_name(key)) is not None:
                continue
            had = present is not None and pointer.is_live(present.data)
            if if_version is not None or if_digest is not None:
                check_version(existing(self._read(key).pointer), if_version=if_version, if_digest=if_digest)
            if present is None and not any(listed):
                raise AdapterNotFound()
            tag = None
            if present is not None:
                vacant = pointer.to_bytes_of(pointer.committed(VACANT, commit), key=key, data_key=None)
                try:
                    tag = self._objects.swap(_pointer_name(key), vacant, expected=present.tag)
                except ObjectChanged as error:
                    if not error.unsure:
                        continue
                    raise StoreUnavailable(_UNKNOWN) from None
            self._remove(key, listed)
            if tag is not None:
                self._remove_vacant(key, tag)
            if not had:
                raise AdapterNotFound()
            return

    def sweep(self, key: UserPath) -> int:
        """Removes the objects and keys of this user that nothing refers to; how many. Safe beside live writers.

        Whoever has written an object and not yet referred to it finds the pointer changed, and writes it again.
        """
        # Listed before the swap, which is the fence: whatever is written behind it belongs to a writer who knows of it.
        objects, keys = self._listed(key)
        found = self._read(key)
        referred = {_object_name(key, record.object) for record in found.pointer.versions}
        live = found.data_key.key_id if found.data_key else None
        orphans = [name for name in objects if name not in referred], [name for name in keys if name != live]
        tag = found.tag
        if any(orphans):
            if tag is not None:
                try:
                    tag = self._swap(key, pointer.committed(found.pointer, _new_name()), found, found.data_key)
                except ObjectChanged:  # a writer is at work; the next sweep comes by again
                    return 0
            self._remove(key, orphans)
        if found.data_key is None and tag is not None:
            self._remove_vacant(key, tag)
        return sum(map(len, orphans))

    def sweep_tenant(self, scope: TenantScope) -> Iterator[int | None]:
        """`sweep` for every user of a tenant, also for those who have no adapter; how many were removed, one by one.

        None for a user of whom something cannot be read: there nothing was removed.
        """
        for storage in (self._objects, self._keys.objects):
            after = None
            while folders := storage.folders(scope.prefix, after=after):
                for folder in folders:
                    try:
                        yield self.sweep(scope.listed(folder))
                    except StoreCorrupt:
                        yield None
                after = folders[-1]

    def rotate_tenant_key(self, scope: TenantScope) -> int:
        """Wraps the keys of a tenant's users by a new tenant key, no adapter touched; how many."""
        return self._keys.rotate(scope)

    def rotate_root_key(self, scope: TenantScope) -> int:
        """Wraps a tenant's keys by the provider's current root key; how many were wrapped by another one."""
        return self._keys.rotate_root(scope)

    def check(self) -> None:
        """Returns if the store can be written to. Raises: `StoreUnavailable`."""
        self._objects.check()
        self._keys.check()

    def close(self) -> None:
        """Frees what the store holds; calls after it raise `StoreUnavailable`. What was put stays where it is."""
        self._objects.close()
        self._keys.close()

    def _read(self, key: UserPath) -> _Read:
        while True:
            present = self._objects.read(_pointer_name(key))
            if present is None:
                return _Read(pointer=VACANT, tag=None, data_key=None)
            key_id = pointer.key_of(present.data)
            data_key = None if key_id is None else self._keys.get(key, key_id)
            if key_id is not None and data_key is None:
                # Deleted since the pointer was read, or else its key is lost.
                latest = self._objects.read(_pointer_name(key))
                if latest is not None and latest.tag == present.tag:
                    raise StoreCorrupt("The key of a stored adapter is missing; restore the key storage from a backup.")
                continue
            found = pointer.from_bytes_of(present.data, key=key, data_key=data_key)
            return _Read(pointer=found, tag=present.tag, data_key=data_key)

    def _read_object(self, key: UserPath, found: _Read, record: VersionRecord) -> bytes | None:
        present = self._objects.read(_object_name(key, record.object))
        if present is None or found.data_key is None:
            return None
        return unseal(present.data, key=found.data_key, place=_place(key, record.digest, record.version))

    def _is_sound(self, key: UserPath, found: _Read, record: VersionRecord) -> bool:
        try:
            return self._read_object(key, found, record) is not None
        except StoreCorrupt:
            return False

    def _write_object(self, key: UserPath, data: bytes, *, data_key: DataKey, digest: str, version: int) -> str:
        name = _new_name()
        self._objects.write(_object_name(key, name), seal(data, key=data_key, place=_place(key, digest, version)))
        return name

    def _swap(self, key: UserPath, changed: Pointer, found: _Read, data_key: DataKey | None) -> str:
        data = pointer.to_bytes_of(changed, key=key, data_key=data_key)
        return self._objects.swap(_pointer_name(key), data, expected=found.tag)

    def _reserve(self, key: UserPath) -> _Read | None:
        """A vacant pointer where there was none; None where somebody else was ahead."""
        vacant = pointer.committed(VACANT, _new_name())
        try:
            tag = self._objects.swap(
                _pointer_name(key), pointer.to_bytes_of(vacant, key=key, data_key=None), expected=None
            )
        except ObjectChanged:
            return None
        return _Read(pointer=vacant, tag=tag, data_key=None)

    def _was_made(self, key: UserPath, before: _Read, commit: str, error: ObjectChanged) -> bool:
        """Whether a refused swap was made all the same, as happens where the answer to a first attempt was lost.

        Raises: `StoreUnavailable` where nobody can tell.
        """
        if not error.unsure:
            return False
        latest = self._read(key)
        if commit in latest.pointer.commits:
            return True
        unseen = before.pointer.commits and before.pointer.commits[-1] not in latest.pointer.commits
        # Where nothing has changed, the first attempt may still be on its way.
        if unseen or latest.tag == before.tag:
            raise StoreUnavailable(_UNKNOWN) from None
        return False

    def _forget(self, key: UserPath, before: Pointer, after: Pointer) -> None:
        """Removes the objects that a change has left without a name; what fails here is left to `sweep`."""
        kept = {record.object for record in after.versions}
        try:
            for record in before.versions:
                if record.object not in kept:
                    self._objects.remove(_object_name(key, record.object))
        except StoreUnavailable:
            pass

    def _listed(self, key: UserPath) -> tuple[list[str], list[str]]:
        objects = [name for name in self._objects.names(key.prefix) if name != _pointer_name(key)]
        return objects, self._keys.names(key)

    def _remove(self, key: UserPath, listed: tuple[list[str], list[str]]) -> None:
        objects, keys = listed
        # The keys first: what is left after a crash is unreadable already.
        for key_id in keys:
            self._keys.destroy(key, key_id)
        for name in objects:
            self._objects.remove(name)

    def _remove_vacant(self, key: UserPath, tag: str) -> None:
        try:
            self._objects.remove_if(_pointer_name(key), expected=tag)
        except ObjectChanged:  # somebody has put a new adapter
            pass

    def _user_in(self, scope: TenantScope, folder: str) -> str | None:
        """The name of the user whose folder this is; None where there is no adapter, or something not of this store."""
        try:
            name = self._read(scope.listed(folder)).pointer.user
        except StoreCorrupt:
            # Its owner is to hear of it, if the path still says who that is; nobody's is left out.
            name = unquote(folder)
        return name if name and segment(name) == folder else None


def _pointer_name(key: UserPath) -> str:
    return f"{key.prefix}{_POINTER}"


def _object_name(key: UserPath, name: str) -> str:
    return f"{key.prefix}objects/{name}"


def _place(key: UserPath, digest: str, version: int) -> tuple[str, ...]:
    return ("adapter", key.prefix, digest, str(version))


def _new_name() -> str:
    return os.urandom(16).hex()
