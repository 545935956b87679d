"""What is kept of one user, as it is read and replaced: the pointer, and the objects and keys that it refers to."""

import os
from dataclasses import dataclass

from hypernet.errors import ObjectChanged, StoreCorrupt, StoreUnavailable
from hypernet.storage import pointer
from hypernet.storage.audit_keys import AuditKeyRing
from hypernet.storage.key_ring import KeyRing
from hypernet.storage.keys import UserPath
from hypernet.storage.object_storage import ObjectStorage, StoredObject
from hypernet.storage.pointer import VACANT, Pointer, VersionRecord
from hypernet.storage.recent import Recent
from hypernet.storage.sealing import DataKey, seal_buffer, unseal_buffer

_POINTER = "pointer"
_POINTER_BYTES = 16 << 20
"""Of the pointers that are kept in memory, as they are stored; read, one is some three times as large."""
UNKNOWN = "The answer to a write was lost, and others wrote since; read it again to see whether it was made."


@dataclass(frozen=True, kw_only=True)
class UserState:
    """A pointer as it was read: with the tag of that state, and the key that it and its objects are sealed under."""

    pointer: Pointer
    tag: str | None
    data_key: DataKey | None


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """A state as it is kept in memory: without the key, which may have been destroyed since."""

    pointer: Pointer
    tag: str
    key_id: str | None


@dataclass(frozen=True, kw_only=True)
class Listed:
    """What lies under a user's prefix beside the pointer."""

    objects: dict[str, int]
    """Their sizes in bytes, by name."""
    keys: list[str]
    """Ids of the user's data keys."""


class UserStates:
    """The states of all users over a storage of objects and a ring of keys; safe for many threads and processes.

    ```
    <tenant>/<user>/pointer            replaced in one step; this is the commit
    <tenant>/<user>/objects/<name>     never changed, never named again
    ```
    """

    def __init__(self, *, objects: ObjectStorage, keys: KeyRing, audit_keys: AuditKeyRing, cache_bytes: int) -> None:
        """``cache_bytes`` bounds the objects, sealed as they are stored, that are kept in memory."""
        self._objects = objects
        self._keys = keys
        self._audit_keys = audit_keys
        self._pointers: Recent[_Kept] = Recent(_POINTER_BYTES)
        # An object never changes, so that what was read of one once is what it is, as long as a pointer refers to it.
        self._sealed: Recent[bytes | bytearray] = Recent(cache_bytes)

    def known(self, key: UserPath, *, keep: bool = True) -> UserState | None:
        """The state as this process last knew it, without asking; a swap that expects it finds out if it still is."""
        kept = self._pointers.get(key.prefix)
        if kept is None:
            return None
        try:
            data_key = None if kept.key_id is None else self._keys.get(key, kept.key_id, keep=keep)
        except StoreCorrupt:
            return None
        if kept.key_id is not None and data_key is None:
            return None
        return UserState(pointer=kept.pointer, tag=kept.tag, data_key=data_key)

    def read(self, key: UserPath, *, keep: bool = True) -> UserState:
        """The present state. Raises: `StoreCorrupt`.

        Who goes through all users does not ``keep`` what is read: those who are asked for often would be forgotten.
        """
        while True:
            present = self.read_raw(key)
            if present is None:
                return UserState(pointer=VACANT, tag=None, data_key=None)
            known = self.known(key, keep=keep)
            if known is not None and known.tag == present.tag:
                return known
            key_id = pointer.key_of(present.data)
            data_key = None if key_id is None else self._keys.get(key, key_id, keep=keep)
            if key_id is not None and data_key is None:
                # Erased since the pointer was read, or else its key is lost.
                latest = self.read_raw(key)
                if latest is not None and latest.tag == present.tag:
                    raise StoreCorrupt("The key of a stored adapter is missing; restore the key storage from a backup.")
                continue
            found = pointer.from_bytes_of(present.data, key=key, data_key=data_key, vouch=self._vouch(key))
            if keep:
                self._keep(key, found, tag=present.tag, data_key=data_key, size_bytes=len(present.data))
            return UserState(pointer=found, tag=present.tag, data_key=data_key)

    def read_raw(self, key: UserPath) -> StoredObject | None:
        """The pointer as it is kept; None if there is none."""
        return self._objects.read(_pointer_name(key))

    def swap(self, key: UserPath, changed: Pointer, *, expected: str | None, data_key: DataKey | None) -> str:
        """Replaces the pointer if its tag is `expected`; the new one. Raises: `ObjectChanged`."""
        data = pointer.to_bytes_of(changed, key=key, data_key=data_key, vouch=self._vouch(key))
        try:
            tag = self._objects.swap(_pointer_name(key), data, expected=expected)
        except BaseException:
            self._forget_state(key)
            raise
        self._keep(key, changed, tag=tag, data_key=data_key, size_bytes=len(data))
        return tag

    def settle(self, key: UserPath) -> None:
        """Makes durable what `read` gives."""
        self._objects.settle(_pointer_name(key))

    def reserve(self, key: UserPath) -> UserState | None:
        """A vacant pointer where there was none; None where somebody else was ahead."""
        vacant = pointer.fenced(VACANT)
        try:
            tag = self.swap(key, vacant, expected=None, data_key=None)
        except ObjectChanged:
            return None
        return UserState(pointer=vacant, tag=tag, data_key=None)

    def was_made(self, key: UserPath, before: UserState, commit: str, error: ObjectChanged) -> bool:
        """Whether a refused swap was made all the same, as happens where the answer to a first attempt was lost.

        Raises: `StoreUnavailable` where nobody can tell.
        """
        if not error.unsure:
            return False
        latest = self.read(key)
        if commit in latest.pointer.commits:
            return True
        unseen = before.pointer.commits and before.pointer.commits[-1] not in latest.pointer.commits
        # Where nothing has changed, the first attempt may still be on its way.
        if unseen or latest.tag == before.tag:
            raise StoreUnavailable(UNKNOWN) from None
        return False

    def read_object(self, key: UserPath, found: UserState, record: VersionRecord) -> bytearray | None:
        """The bytes of a version; None where the object is gone. Raises: `StoreCorrupt` for other bytes than those."""
        name = _object_name(key, record.object)
        sealed = self._sealed.get(name)
        if sealed is not None and found.data_key is not None:
            return unseal_buffer(sealed, key=found.data_key, place=_place(key, record.digest, record.version))
        return self._read_stored(key, found, record)

    def is_sound(self, key: UserPath, found: UserState, record: VersionRecord) -> bool:
        """Whether a version can be read from the storage, whatever is in memory."""
        try:
            return self._read_stored(key, found, record) is not None
        except StoreCorrupt:
            return False

    def write_object(self, key: UserPath, data: bytes, *, data_key: DataKey, digest: str, version: int) -> str:
        """Writes the bytes of a version that is still to be; the object's name in its record."""
        name = os.urandom(16).hex()
        sealed = seal_buffer(data, key=data_key, place=_place(key, digest, version))
        self._objects.write(_object_name(key, name), sealed)
        self._cache(_object_name(key, name), sealed)
        return name

    def forget(self, key: UserPath, before: Pointer, after: Pointer) -> None:
        """Removes the objects that a change has left without a name; what fails here is left to a sweep."""
        kept = {record.object for record in after.versions}
        try:
            for record in before.versions:
                if record.object not in kept:
                    self._remove(_object_name(key, record.object))
        except StoreUnavailable:
            pass

    def listed(self, key: UserPath) -> Listed:
        """What lies under the user's prefix."""
        objects = self._objects.names(key.prefix)
        objects.pop(_pointer_name(key), None)
        return Listed(objects=objects, keys=self._keys.names(key))

    def referred_to(self, key: UserPath, found: Pointer) -> set[str]:
        """Names of the objects that a pointer refers to."""
        return {_object_name(key, record.object) for record in found.versions}

    def withdraw(self, key: UserPath, *, name: str, data_key_id: str | None) -> None:
        """Removes an object, and the key that was made for it, that no pointer came to refer to."""
        self.remove(key, objects=[_object_name(key, name)], keys=[] if data_key_id is None else [data_key_id])

    def remove(self, key: UserPath, *, objects: list[str], keys: list[str]) -> None:
        """Destroys keys, then removes objects: what is left after a crash is unreadable already."""
        for key_id in keys:
            self._keys.destroy(key, key_id)
        for name in objects:
            self._remove(name)

    def remove_vacant(self, key: UserPath, tag: str) -> None:
        """Removes a vacant pointer in that state, where the storage can do so in one step."""
        self._forget_state(key)
        try:
            self._objects.remove_if(_pointer_name(key), expected=tag)
        except ObjectChanged:  # somebody has put a new adapter
            pass

    def tidy(self, key: UserPath) -> None:
        """Removes what is left of the names of a user of whom there is nothing."""
        self._objects.tidy(key.prefix)
        self._keys.objects.tidy(key.prefix)

    def _read_stored(self, key: UserPath, found: UserState, record: VersionRecord) -> bytearray | None:
        name = _object_name(key, record.object)
        present = self._objects.read(name)
        if present is None or found.data_key is None:
            return None
        data = unseal_buffer(present.data, key=found.data_key, place=_place(key, record.digest, record.version))
        self._cache(name, present.data)
        return data

    def _vouch(self, key: UserPath) -> pointer.Vouch:
        return lambda message: self._audit_keys.of(key.scope).vouch(key, message)

    def _keep(self, key: UserPath, found: Pointer, *, tag: str, data_key: DataKey | None, size_bytes: int) -> None:
        key_id = None if data_key is None else data_key.key_id
        self._pointers.put(key.prefix, _Kept(pointer=found, tag=tag, key_id=key_id), size_bytes=size_bytes)

    def _forget_state(self, key: UserPath) -> None:
        self._pointers.remove(key.prefix)

    def _cache(self, name: str, sealed: bytes | bytearray) -> None:
        self._sealed.put(name, sealed, size_bytes=len(sealed))

    def _remove(self, name: str) -> None:
        self._sealed.remove(name)
        self._objects.remove(name)


def _pointer_name(key: UserPath) -> str:
    return f"{key.prefix}{_POINTER}"


def _object_name(key: UserPath, name: str) -> str:
    return f"{key.prefix}objects/{name}"


def _place(key: UserPath, digest: str, version: int) -> tuple[str, ...]:
    return ("adapter", key.prefix, digest, str(version))
