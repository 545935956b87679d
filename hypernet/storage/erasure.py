"""Erasing a user's adapter for good, with a receipt; and removing what processes that died have left.

An erasure makes the pointer vacant, which is the commit: from then on nobody is answered by that adapter. It says there
what it still owes, destroys the key, removes the objects, writes the audit log's line of it and the receipt, and clears
the debt. Whoever comes by after a crash, a sweep or the next writer, goes on where it stopped.
"""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace

from hypernet.errors import AdapterNotFound, ObjectChanged, StoreCorrupt, StoreUnavailable
from hypernet.storage import pointer
from hypernet.storage.audit_keys import AuditKeyRing
from hypernet.storage.audit_log import AuditLog, LinePlace
from hypernet.storage.changes import Change
from hypernet.storage.key_ring import KeyRing
from hypernet.storage.keys import TenantScope, UserPath
from hypernet.storage.object_storage import ObjectStorage
from hypernet.storage.pointer import VACANT, Owed, check_version
from hypernet.storage.receipts import EVENT, Receipt
from hypernet.storage.user_states import UNKNOWN, UserState, UserStates

Drain = Callable[[], None]
"""Called when nobody is given the adapter any more, before its key is destroyed: takes it out of engines."""

_RECEIPT = re.compile(r".*/[0-9a-f]{32}\Z")


class Erasures:
    """Erasures and sweeps over the states of users; safe beside live writers."""

    def __init__(
        self, *, states: UserStates, keys: KeyRing, objects: ObjectStorage, log: AuditLog, audit_keys: AuditKeyRing
    ) -> None:
        self._states = states
        self._keys = keys
        self._objects = objects
        self._log = log
        self._audit_keys = audit_keys

    def erase(self, key: UserPath, *, if_version: int | None, if_digest: str | None, drain: Drain | None) -> Receipt:
        """As `AdapterStore.erase`."""
        with Change(key, log=self._log) as change:
            while True:
                # Listed between a state and the swap that expects it: everything that this state refers to is in the
                # list, and what is written later belongs to a writer who knows of the swap.
                present = self._states.read_raw(key)
                found = self._readable(key)
                listed = self._states.listed(key)
                if found is not None and found.tag != (None if present is None else present.tag):
                    continue
                if present is None and self._states.read_raw(key) is not None:
                    continue
                if present is None or (found is not None and not found.pointer.versions):
                    change.withdraw()  # an attempt before this one was too late
                    if if_version is not None or if_digest is not None:  # of nothing, neither holds
                        self.sweep(key)
                        raise AdapterNotFound()
                    return self._finished(key, drain)
                if if_version is not None or if_digest is not None:
                    known = found or self._states.read(key)  # which says why it cannot be read
                    check_version(known.pointer, if_version=if_version, if_digest=if_digest)
                change.announce(
                    "erase",
                    objects=len(listed.objects),
                    bytes=sum(listed.objects.values()),
                    keys=[{"id": key_id, "sha256": self._digest_of_key(key, key_id)} for key_id in listed.keys],
                )
                line = change.announced()
                owed = Owed(
                    change=change.name,
                    lane=line.content["lane"],
                    segment=line.segment,
                    line=line.content["line"],
                )
                before = VACANT if found is None else replace(found.pointer, user="", active=0, versions=())
                vacant = replace(pointer.committed(before, change.name), owed=owed)
                try:
                    self._states.swap(key, vacant, expected=present.tag, data_key=None)
                    break
                except ObjectChanged as error:
                    if found is None and error.unsure:
                        raise StoreUnavailable(UNKNOWN) from None
                    if found is not None and self._states.was_made(key, found, change.name, error):
                        break
                    change.overtaken()
        if drain is not None:
            drain()
        while (left := self._states.read(key).pointer.owed) is not None and left.change == change.name:
            self.sweep(key)
        return self._receipt(key, change.name)

    def sweep(self, key: UserPath) -> int:
        """As `AdapterStore.sweep`."""
        # Listed before the swap, which is the fence: whatever is written behind it belongs to a writer who knows of it.
        listed = self._states.listed(key)
        found = self._states.read(key)
        referred, live = self._states.referred_to(key, found.pointer), found.data_key and found.data_key.key_id
        objects = [name for name in listed.objects if name not in referred]
        keys = [name for name in listed.keys if name != live]
        owed, tag = found.pointer.owed, found.tag
        try:
            if objects or keys or owed:
                if tag is not None:
                    fence = pointer.fenced(found.pointer)
                    tag = self._states.swap(key, fence, expected=tag, data_key=found.data_key)
                self._states.remove(key, objects=objects, keys=keys)
            if owed is not None:
                self._give_receipt(key, owed)
                tag = self._clear(key, owed)
        except ObjectChanged:  # a writer is at work, or another sweep; the next one comes by again
            return 0
        if found.data_key is None:
            if tag is not None:
                self._states.remove_vacant(key, tag)
            self._states.tidy(key)
        return len(objects) + len(keys)

    def receipts(self, key: UserPath) -> list[Receipt]:
        """All receipts of the erasures of this user, oldest first."""
        found = [
            self._read_receipt(key.scope, name)
            for name in self._objects.names(self._folder(key))
            if _RECEIPT.match(name)
        ]
        return sorted(found, key=lambda receipt: str(receipt.line.get("at")))

    def hashes_of_receipts(self, scope: TenantScope) -> list[str]:
        """Hashes of the audit log's lines that receipts of this tenant's erasures were given for."""
        hashes = []
        after: str | None = None
        while page := list(self._objects.names(_root(scope), after=after, limit=1000)):
            hashes += [self._read_receipt(scope, name).hash for name in page if _RECEIPT.match(name)]
            after = page[-1]
        return hashes

    def _readable(self, key: UserPath) -> UserState | None:
        """The present state; None where it cannot be read, as of somebody who had an adapter whose key is lost."""
        try:
            found = self._states.read(key)
        except StoreCorrupt:
            return None
        return found

    def _finished(self, key: UserPath, drain: Drain | None) -> Receipt:
        """What an erasure comes to where no adapter is: the end of one that was cut short, or nothing.

        Raises: `AdapterNotFound`.
        """
        owed = self._states.read(key).pointer.owed
        if owed is not None and drain is not None:
            drain()
        while (left := self._states.read(key).pointer.owed) is not None and left == owed:
            self.sweep(key)
        if owed is not None:
            return self._receipt(key, owed.change)
        self.sweep(key)
        raise AdapterNotFound()

    def _give_receipt(self, key: UserPath, owed: Owed) -> None:
        """Writes the line that an erasure is over, and the receipt; what it did is what it announced it would."""
        if self._objects.read(f"{self._folder(key)}{owed.change}") is not None:
            return  # whoever gave it has not cleared the debt
        announced = self._log.find(key.scope, LinePlace(lane=owed.lane, segment=owed.segment, line=owed.line)).content
        keys = self._audit_keys.of(key.scope)
        about = ("erase", owed.change, keys.pseudonym(key))
        if (announced.get("event"), announced.get("change"), announced.get("user")) != about:
            raise StoreCorrupt("An erasure that was cut short points to a line of the audit log about something else.")
        facts = {name: announced[name] for name in ("objects", "bytes", "keys")}
        line = self._log.append(key.scope, EVENT, user=key, change=owed.change, **facts)
        data = json.dumps(Receipt.of(line, keys=keys).to_dict()).encode()
        try:
            self._objects.swap(f"{self._folder(key)}{owed.change}", data, expected=None)
        except ObjectChanged:  # another one has finished it at the same time, and its receipt is as good
            pass

    def _clear(self, key: UserPath, owed: Owed) -> str | None:
        """The pointer without the debt, by its tag; None where somebody else has cleared it.

        Others may fence it meanwhile, but nobody commits on a pointer that owes something.
        """
        while (found := self._states.read(key)).pointer.owed == owed:
            cleared = pointer.fenced(replace(found.pointer, owed=None))
            try:
                return self._states.swap(key, cleared, expected=found.tag, data_key=None)
            except ObjectChanged:
                continue
        return None

    def _receipt(self, key: UserPath, change: str) -> Receipt:
        return self._read_receipt(key.scope, f"{self._folder(key)}{change}")

    def _read_receipt(self, scope: TenantScope, name: str) -> Receipt:
        present = self._objects.read(name)
        if present is None:
            raise StoreCorrupt("The receipt of an erasure is missing; restore it from a backup.")
        receipt = Receipt.from_bytes(present.data)
        is_there = [receipt.line.get("user"), receipt.line.get("change")] == name.split("/")[-2:]
        if not is_there or receipt.problems(public_key=self._audit_keys.of(scope).public_key):
            raise StoreCorrupt("The receipt of an erasure was changed, or is another's; restore it from a backup.")
        return receipt

    def _folder(self, key: UserPath) -> str:
        return f"{_root(key.scope)}{self._audit_keys.of(key.scope).pseudonym(key)}/"

    def _digest_of_key(self, key: UserPath, key_id: str) -> str | None:
        """None for a key that nobody can read any more."""
        try:
            found = self._keys.get(key, key_id)
        except StoreCorrupt:
            return None
        return None if found is None else hashlib.sha256(found.secret).hexdigest()


def _root(scope: TenantScope) -> str:
    return f"{scope.prefix}.receipts/"
