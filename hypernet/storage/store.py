"""The adapter store: versions, rollback, encryption and erasure over any storage of objects."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from hypernet.adapters import Adapter
from hypernet.errors import ObjectChanged, StoreCorrupt, StoreUnavailable
from hypernet.storage import adapter_bytes, pointer
from hypernet.storage.audit_check import Anchor, LogFindings, check_log
from hypernet.storage.audit_keys import AuditKeyRing
from hypernet.storage.audit_log import AuditLog
from hypernet.storage.changes import Change
from hypernet.storage.directory import DirectoryObjects
from hypernet.storage.erasure import Drain, Erasures
from hypernet.storage.key_provider import HeldKeys, KeyProvider
from hypernet.storage.key_ring import KeyRing
from hypernet.storage.keys import TenantScope, UserKey, UserPath, segment
from hypernet.storage.memory import MemoryObjects
from hypernet.storage.object_storage import ObjectStorage
from hypernet.storage.pointer import Retention, check_version, existing, new_record
from hypernet.storage.receipts import Receipt
from hypernet.storage.sealing import new_key
from hypernet.storage.stored_adapter import StoredAdapter
from hypernet.storage.user_states import UserState, UserStates

_KEEP_ALL = Retention()


class AdapterStore:
    """Adapters by user, with versions, sealed under a key of each user; safe to call from many threads and processes.

    One version of each user is the active one. Objects never change and are named once; the one thing that does change
    is a small pointer per user, replaced in a single step, so a reader sees the state before a write or after it and
    nothing between. Every call may raise `StoreUnavailable` and, where it reads, `StoreCorrupt`. No change is made that
    the tenant's audit log has not been told of before.

    A process that dies leaves every user at the version before its write or at the one after it, and at worst objects
    that nothing refers to, which `sweep` removes.
    """

    def __init__(
        self,
        *,
        objects: ObjectStorage,
        keys: ObjectStorage,
        provider: KeyProvider,
        retention: Retention = _KEEP_ALL,
        cache_bytes: int = 0,
    ) -> None:
        """A store over ``objects``, with its keys in ``keys``, which ought to be backed up apart from them.

        Adapters are kept in memory, sealed, up to ``cache_bytes``; which of them a user has is asked for every time.
        """
        self._objects = objects
        self._keys = KeyRing(objects=keys, provider=provider)
        self._audit_keys = AuditKeyRing(objects=keys, logs=objects, provider=provider)
        self._log = AuditLog(objects=objects, keys=self._audit_keys)
        self._states = UserStates(
            objects=objects, keys=self._keys, audit_keys=self._audit_keys, cache_bytes=cache_bytes
        )
        self._erasures = Erasures(
            states=self._states, keys=self._keys, objects=objects, log=self._log, audit_keys=self._audit_keys
        )
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
        with Change(key, log=self._log) as change:
            # What this process knows may be old, but then the swap finds out; nothing is refused without asking.
            found = self._states.known(key)
            if found is not None:
                present = found.pointer
                is_same = bool(present.versions) and present.record().digest == digest
                holds = pointer.is_at(present, if_version=if_version, if_digest=if_digest)
                if holds and not is_same and present.owed is None:
                    made = self._append(key, adapter, found, change=change, digest=digest, data=data)
                    if made is not None:
                        return made
            while True:
                found = self._states.read(key)
                present = found.pointer
                check_version(present, if_version=if_version, if_digest=if_digest)
                if present.owed is not None:
                    self._erasures.sweep(key)  # first of all what an erasure has left undone
                    continue
                mended = None
                if present.versions and present.record().digest == digest:
                    if self._states.is_sound(key, found, present.record()):
                        change.withdraw()  # somebody else was ahead with the same
                        self._states.settle(key)
                        return present.stored()
                    mended = present.active
                if found.tag is None:
                    # "Nothing there" is not a state that is never there again, so nothing is committed on it.
                    found = self._states.reserve(key)
                    if found is None:
                        continue
                made = self._append(key, adapter, found, change=change, digest=digest, data=data, mended=mended)
                if made is not None:
                    return made

    def head(self, key: UserKey) -> StoredAdapter:
        """The active version, without its tensors. Raises: `AdapterNotFound`."""
        return existing(self._states.read(key).pointer).stored()

    def get(self, key: UserKey, *, version: int | None = None) -> tuple[StoredAdapter, Adapter]:
        """A version (the active one if none is named) with its tensors, its seal checked, which is bound to its digest.

        Raises: `AdapterNotFound`, `VersionNotFound`, `StoreCorrupt` where the bytes are not those that were put.
        """
        found = self._states.read(key)
        while True:
            record = existing(found.pointer).record(version)
            data = self._states.read_object(key, found, record)
            if data is not None:
                return found.pointer.stored(record.version), adapter_bytes.from_bytes(data, digest=record.digest)
            # It may have been deleted, or pruned, since its pointer was read.
            latest = self._states.read(key)
            if latest.tag == found.tag:
                raise StoreCorrupt(
                    "A stored adapter's object is missing; generate it again or restore it from a backup."
                )
            found = latest

    def versions(self, key: UserKey) -> list[StoredAdapter]:
        """All versions, oldest first. Raises: `AdapterNotFound`."""
        present = existing(self._states.read(key).pointer)
        return [present.stored(record.version) for record in present.versions]

    def activate(
        self, key: UserKey, version: int, *, if_version: int | None = None, if_digest: str | None = None
    ) -> StoredAdapter:
        """Makes an existing version the active one; durable when it returns. Conditions as in `put`.

        Raises: `AdapterNotFound`, `VersionNotFound`, `PreconditionFailed`.
        """
        with Change(key, log=self._log) as change:
            while True:
                found = self._states.read(key)
                present = existing(found.pointer)
                check_version(present, if_version=if_version, if_digest=if_digest)
                changed = pointer.activated(present, version, commit=change.name)
                change.announce("activate", version=version)
                change.announced()
                try:
                    self._states.swap(key, changed, expected=found.tag, data_key=found.data_key)
                except ObjectChanged as error:
                    if not self._states.was_made(key, found, change.name, error):
                        change.overtaken()
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

    def erase(
        self,
        key: UserKey,
        *,
        if_version: int | None = None,
        if_digest: str | None = None,
        drain: Drain | None = None,
    ) -> Receipt:
        """Removes the user's adapter with all its versions and destroys its key, for good; the receipt of it.

        Conditions as in `put`. Without one an adapter that can no longer be read can be erased too. ``drain`` is called
        when nobody is given it any more, and before this call destroys anything; another writer of the same user who
        comes meanwhile does not wait for it. What a process that died left of this user goes as well; an erasure that
        it had begun is ended, and its receipt given. Raises: `AdapterNotFound`, `PreconditionFailed`.
        """
        return self._erasures.erase(key, if_version=if_version, if_digest=if_digest, drain=drain)

    def receipts(self, key: UserKey) -> list[Receipt]:
        """The receipts of this user's erasures, oldest first; they outlast what was erased."""
        return self._erasures.receipts(key)

    def sweep(self, key: UserPath) -> int:
        """Removes the objects and keys of this user that nothing refers to; how many. Safe beside live writers.

        Whoever has written an object and not yet referred to it finds the pointer changed, and writes it again. An
        erasure that was cut short is ended.
        """
        return self._erasures.sweep(key)

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
        self._log.append(scope, "rotate-tenant-key")
        return self._keys.rotate(scope)

    def rotate_root_key(self, scope: TenantScope) -> int:
        """Wraps a tenant's keys by the provider's current root key; how many were wrapped by another one."""
        self._log.append(scope, "rotate-root-key")
        return self._keys.rotate_root(scope) + self._audit_keys.rotate_root(scope)

    def audit_lines(self, scope: TenantScope) -> Iterator[bytes]:
        """The tenant's audit log as it is written, lane by lane, with its signatures."""
        return self._log.lines(scope)

    def audit_key(self, scope: TenantScope) -> str:
        """The public key that the tenant's audit log and receipts are signed for, as hexadecimal digits."""
        return self._audit_keys.of(scope).public_key

    def pseudonym(self, key: UserKey) -> str:
        """The user's name in the audit log."""
        return self._audit_keys.of(key.scope).pseudonym(key)

    def verify_audit(self, scope: TenantScope, *, anchor: Anchor | None = None) -> LogFindings:
        """Whether the tenant's audit log is whole, and holds every change and every erasure that the store knows of.

        Safe beside live writers. With an ``anchor``, the `heads` of an earlier check, nothing that was there then may
        be missing.
        """
        # What the store knows of first: its changes were announced before they were made.
        known, unreadable = set(), 0
        for key in self._paths(scope):
            try:
                known |= set(pointer.named_changes(self._states.read(key, keep=False).pointer))
            except StoreCorrupt:
                unreadable += 1
        given = set(self._erasures.hashes_of_receipts(scope))

        def seen(content: Mapping[str, Any], hash_: str) -> None:
            known.discard(str(content.get("change")))
            given.discard(hash_)

        found = check_log(self._log.lines(scope), public_key=self.audit_key(scope), anchor=anchor, seen=seen)
        if unreadable:
            found.problems.append(f"{unreadable} of the users' pointers cannot be read")
        if known:
            found.problems.append(f"{len(known)} of the changes that were made are not in it")
        if given:
            found.problems.append(f"{len(given)} of the erasures that receipts were given for are not in it")
        return found

    def check(self) -> None:
        """Returns if the store can be written to. Raises: `StoreUnavailable`."""
        self._objects.check()
        self._keys.check()

    def close(self) -> None:
        """Frees what the store holds; calls after it raise `StoreUnavailable`. What was put stays where it is."""
        try:
            self._objects.close()
        finally:
            self._keys.close()

    def _append(
        self,
        key: UserKey,
        adapter: Adapter,
        found: UserState,
        *,
        change: Change,
        digest: str,
        data: bytes,
        mended: int | None = None,
    ) -> StoredAdapter | None:
        """Commits a version on that state, or another object for version ``mended``; None if the state has changed."""
        present = found.pointer
        version = mended or pointer.next_version(present)
        change.announce("put", version=version)
        data_key = found.data_key or self._keys.make(key)
        name = self._states.write_object(key, data, data_key=data_key, digest=digest, version=version)
        if mended:
            changed = pointer.renamed(present, mended, name=name, commit=change.name)
        else:
            record = new_record(adapter, version=version, name=name, digest=digest, size_bytes=len(data))
            changed = pointer.appended(present, record, user=key.user, commit=change.name)
        changed = self._retention.kept(changed)
        change.announced()
        try:
            self._states.swap(key, changed, expected=found.tag, data_key=data_key)
        except ObjectChanged as error:
            if not self._states.was_made(key, found, change.name, error):
                change.overtaken()
                # A sweep may have been ahead, and have removed this object: the next attempt writes another.
                self._states.withdraw(key, name=name, data_key_id=None if found.data_key else data_key.key_id)
                return None
        self._states.forget(key, present, changed)
        return changed.stored()

    def _paths(self, scope: TenantScope) -> Iterator[UserPath]:
        """All users of a tenant of whom there is a pointer, vacant ones included."""
        after = None
        while folders := self._objects.folders(scope.prefix, after=after):
            yield from (scope.listed(folder) for folder in folders)
            after = folders[-1]

    def _user_in(self, scope: TenantScope, folder: str) -> str | None:
        """The name of the user whose folder this is; None where there is no adapter, or something not of this store."""
        try:
            name = self._states.read(scope.listed(folder), keep=False).pointer.user
        except StoreCorrupt:
            # Its owner is to hear of it, if the path still says who that is; nobody's is left out.
            name = unquote(folder)
        return name if name and segment(name) == folder else None
