"""The users' data keys: made, kept wrapped, read, wrapped anew, destroyed.

A user's key is wrapped by a key of the tenant, that one by a root key, which only the key provider has. Both wrapped
kinds lie in a storage of their own, apart from the adapters: a copy of the adapters' storage decrypts nothing of a user
whose key was destroyed since.

```
<tenant>/.keys               the tenant's keys, the current one first
<tenant>/<user>/<key id>     a data key, for one life of an adapter: from the first put to the deletion
```
"""

import json
import re
import threading
import time
from base64 import b64decode, b64encode
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field

from hypernet.errors import ObjectChanged, StoreCorrupt
from hypernet.storage.key_provider import KeyProvider
from hypernet.storage.keys import TenantScope, UserPath
from hypernet.storage.object_storage import ObjectStorage, StoredObject
from hypernet.storage.sealing import KEY_ID_LENGTH, DataKey, key_id_of, new_key, seal, unseal

_FORMAT = 1
_KEY_ID = re.compile(rf"[0-9a-f]{{{KEY_ID_LENGTH}}}")
_CACHED = 10_000
_CACHED_S = 60.0
"""How long a process may go on using a key that another one has destroyed; it needs a copy of what it sealed, too."""


@dataclass(frozen=True, kw_only=True)
class TenantKeys:
    """A tenant's keys, wrapped by a root key each; the first is the current one, the others are being replaced."""

    wrapped: tuple[tuple[str, bytes], ...] = field(repr=False)
    """Names and wrapped secrets."""
    tag: str

    @property
    def current(self) -> str:
        """Name of the key that wraps users' keys now."""
        return self.wrapped[0][0]


class KeyRing:
    """The data keys of all users, safe to call from many threads."""

    def __init__(self, *, objects: ObjectStorage, provider: KeyProvider) -> None:
        self.objects = objects
        """Where the wrapped keys lie."""
        self._provider = provider
        self._lock = threading.Lock()
        self._users: OrderedDict[str, tuple[DataKey, float]] = OrderedDict()
        self._destroyed = 0
        self._tenants: dict[tuple[str, str], DataKey] = {}

    def make(self, key: UserPath) -> DataKey:
        """A new data key of this user; durable when this returns."""
        while True:
            tenant = self._tenant_keys(key.scope, make=True)
            made = new_key()
            wrapped = seal(
                made.secret,
                key=self._tenant_key(key.scope, tenant, tenant.current),
                place=_place(_name(key, made.key_id)),
            )
            try:
                self.objects.swap(_name(key, made.key_id), wrapped, expected=None)
            except ObjectChanged:  # written at a first attempt, and wrapped anew since
                self.objects.remove(_name(key, made.key_id))
                continue
            # A rotation that began before this key was there may not have seen it: then it is wrapped by a key that is
            # about to be destroyed.
            if self._tenant_keys(key.scope).current == tenant.current:
                return self._remember(key, made)
            self.objects.remove(_name(key, made.key_id))

    def get(self, key: UserPath, key_id: str, *, keep: bool = True) -> DataKey | None:
        """The user's data key of that name; None where it was destroyed. Raises: `StoreCorrupt`.

        It is kept in memory for a while, unless not to ``keep`` it is asked for.
        """
        name = _name(key, key_id)
        # Without a lock, since every reader comes by here: each of these calls is a single step of the interpreter's.
        destroyed = self._destroyed
        found, until = self._users.get(name, (None, 0.0))
        if found is not None and time.monotonic() < until:
            with suppress(KeyError):
                self._users.move_to_end(name)
            return found
        while True:
            present = self.objects.read(name)
            if present is None:
                return None
            try:
                found = self._unwrapped(key.scope, name, present)
            except StoreCorrupt:
                latest = self.objects.read(name)
                if latest is not None and latest.tag == present.tag:
                    raise
                continue  # wrapped anew, or destroyed, between the reading of it and of the tenant's keys
            if not keep:
                return found
            # Unless one was destroyed meanwhile, perhaps this one: nobody is to find it here later.
            return self._remember(key, found, unless_destroyed_since=destroyed)

    def destroy(self, key: UserPath, key_id: str) -> None:
        """Removes a data key, here and in the storage; what it sealed stays sealed for good."""
        self._forget(key, key_id)
        self.objects.remove(_name(key, key_id))
        self._forget(key, key_id)  # by somebody who read it before it was removed

    def names(self, key: UserPath) -> list[str]:
        """Names of all keys of this user, those that nothing is sealed with included."""
        return [name.removeprefix(key.prefix) for name in self.objects.names(key.prefix)]

    def rotate(self, scope: TenantScope) -> int:
        """Wraps all data keys of a tenant by a new tenant key and destroys the old ones; how many were wrapped anew.

        No adapter is written. A rotation that was interrupted is finished by the next one; writers need not stop.
        """
        made = new_key()
        wrapped = (made.key_id, self._provider.wrap(made.secret, tenant=scope.tenant))
        while True:
            present = self._tenant_keys(scope, make=True)
            try:
                self._write_tenant(scope, (wrapped, *present.wrapped), expected=present.tag)
                break
            except ObjectChanged:  # another rotation, or the first key of all
                continue
        count = 0
        while True:
            wrapped_anew, left = self._rewrap_all(scope)
            count += wrapped_anew
            latest = self._tenant_keys(scope)
            # Another rotation that has begun since will end this one too. What is left unread may yet be mended.
            if latest.current != made.key_id or left:
                return count
            if wrapped_anew:
                continue  # until a whole pass has found nothing to do
            try:
                self._write_tenant(scope, latest.wrapped[:1], expected=latest.tag)
                return count
            except ObjectChanged:
                continue

    def rotate_root(self, scope: TenantScope) -> int:
        """Wraps a tenant's keys by the provider's current root key; how many were wrapped by another one."""
        while True:
            present = self._tenant_keys(scope, make=True)
            old = [entry for entry in present.wrapped if self._provider.root_of(entry[1]) != self._provider.current]
            anew = tuple(
                (name, self._provider.wrap(self._provider.unwrap(wrapped, tenant=scope.tenant), tenant=scope.tenant))
                for name, wrapped in present.wrapped
            )
            try:
                if old:
                    self._write_tenant(scope, anew, expected=present.tag)
                return len(old)
            except ObjectChanged:
                continue

    def check(self) -> None:
        """Returns if the storage of the keys can be written to. Raises: `StoreUnavailable`."""
        self.objects.check()

    def close(self) -> None:
        """Forgets all keys and closes the storage."""
        with self._lock:
            self._users.clear()
            self._tenants.clear()
        self.objects.close()

    def _unwrapped(self, scope: TenantScope, name: str, present: StoredObject) -> DataKey:
        tenant = self._tenant_keys(scope)
        secret = unseal(present.data, key=self._tenant_key(scope, tenant, key_id_of(present.data)), place=_place(name))
        return DataKey(key_id=name.rpartition("/")[2], secret=secret)

    def _rewrap_all(self, scope: TenantScope) -> tuple[int, int]:
        """Wraps all data keys of a tenant by the current key: how many, and how many could not be."""
        count, left, after = 0, 0, None
        while users := self.objects.folders(scope.prefix, after=after):
            for user in users:
                for name in self.objects.names(f"{scope.prefix}{user}/"):
                    if not _KEY_ID.fullmatch(name.rpartition("/")[2]):  # one that is still being written
                        continue
                    try:
                        count += self._rewrap(scope, name)
                    except StoreCorrupt:
                        left += not self._is_lost(scope, name)
            after = users[-1]
        return count, left

    def _is_lost(self, scope: TenantScope, name: str) -> bool:
        """Whether a data key was wrapped by a tenant key that is gone, so that nobody can read it whatever is kept."""
        present = self.objects.read(name)
        try:
            return present is None or key_id_of(present.data) not in dict(self._tenant_keys(scope).wrapped)
        except StoreCorrupt:
            return False

    def _rewrap(self, scope: TenantScope, name: str) -> bool:
        while True:
            present = self.objects.read(name)
            tenant = self._tenant_keys(scope)
            if present is None or key_id_of(present.data) == tenant.current:
                return False
            secret = self._unwrapped(scope, name, present).secret
            anew = seal(secret, key=self._tenant_key(scope, tenant, tenant.current), place=_place(name))
            try:
                self.objects.swap(name, anew, expected=present.tag)
            except ObjectChanged:  # destroyed, or wrapped anew by somebody else
                continue
            return True

    def _forget(self, key: UserPath, key_id: str) -> None:
        with self._lock:
            self._destroyed += 1
            self._users.pop(_name(key, key_id), None)

    def _remember(self, key: UserPath, found: DataKey, *, unless_destroyed_since: int | None = None) -> DataKey:
        with self._lock:
            if unless_destroyed_since not in (None, self._destroyed):
                return found
            self._users[_name(key, found.key_id)] = found, time.monotonic() + _CACHED_S
            if len(self._users) > _CACHED:
                self._users.popitem(last=False)
        return found

    def _tenant_keys(self, scope: TenantScope, *, make: bool = False) -> TenantKeys:
        while True:
            present = self.objects.read(_tenant_name(scope))
            if present is not None:
                return _read_tenant(present)
            if not make:
                raise StoreCorrupt("The keys of a tenant are missing; restore the key storage from a backup.")
            made = new_key()
            try:
                self._write_tenant(
                    scope, ((made.key_id, self._provider.wrap(made.secret, tenant=scope.tenant)),), expected=None
                )
            except ObjectChanged:  # somebody else was first
                continue

    def _tenant_key(self, scope: TenantScope, keys: TenantKeys, key_id: str) -> DataKey:
        found = self._tenants.get((scope.tenant, key_id))
        if found is None:
            wrapped = dict(keys.wrapped).get(key_id)
            if wrapped is None:
                raise StoreCorrupt("A key was wrapped by a key of another tenant, or by one that is gone.")
            found = DataKey(key_id=key_id, secret=self._provider.unwrap(wrapped, tenant=scope.tenant))
            with self._lock:
                self._tenants[scope.tenant, key_id] = found
        return found

    def _write_tenant(
        self, scope: TenantScope, wrapped: tuple[tuple[str, bytes], ...], *, expected: str | None
    ) -> None:
        keys = [{"id": name, "wrapped": b64encode(secret).decode()} for name, secret in wrapped]
        data = json.dumps({"format": _FORMAT, "keys": keys}).encode()
        self.objects.swap(_tenant_name(scope), data, expected=expected)


def _read_tenant(present: StoredObject) -> TenantKeys:
    try:
        content = json.loads(present.data)
        found = content["format"]
        if found != _FORMAT:
            raise StoreCorrupt(
                f"The keys of a tenant are of format {found!r}, this version reads {_FORMAT}. Use the version of this "
                "program that wrote them, or a newer one."
            )
        wrapped = tuple((entry["id"], b64decode(entry["wrapped"], validate=True)) for entry in content["keys"])
        if not wrapped:
            raise ValueError
        return TenantKeys(wrapped=wrapped, tag=present.tag)
    except (ValueError, KeyError, TypeError):
        raise StoreCorrupt("The keys of a tenant cannot be read; restore the key storage from a backup.") from None


def _tenant_name(scope: TenantScope) -> str:
    return f"{scope.prefix}.keys"


def _name(key: UserPath, key_id: str) -> str:
    return f"{key.prefix}{key_id}"


def _place(name: str) -> tuple[str, str]:
    # The name is another one for every tenant and user, and cannot be put together in two ways.
    return ("data-key", name)
