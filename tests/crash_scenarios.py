"""What a process is killed in the middle of, and what is there afterwards if it did all of it, or nothing.

The states here are counted on paper, so to speak: nothing of the store is asked what they ought to be.
"""

import json
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from hypernet.adapters import Adapter
from hypernet.errors import AdapterNotFound, HypernetError
from hypernet.storage import AdapterStore, Retention
from hypernet.storage.key_provider import HeldKeys
from hypernet.storage.memory import MemoryObjects
from hypernet.storage.object_storage import ObjectStorage
from hypernet.storage.pointer import is_live
from hypernet.storage.sealing import new_key
from tests.samples import sample_adapter
from tests.storages import ADA as KEY
from tests.storages import Storages, Wrapped, store_of

FIRST, SECOND, THIRD, LATER = (sample_adapter(seed) for seed in range(4))
LIVE = tuple(sample_adapter(seed) for seed in range(100, 140))
"""What live writers put."""
OLD_ROOT, NEW_ROOT = new_key(), new_key()
POINTER = f"{KEY.prefix}pointer"
Contents = Mapping[str, bytes]
_ALL, _ONE = Retention(), Retention(versions=1)


@dataclass(frozen=True)
class State:
    """What a reader of one user finds: numbers of the versions and digests of their adapters, and the active number."""

    versions: tuple[tuple[int, str], ...] = ()
    active: int = 0


Change = Callable[[State], State]


def putting(adapter: Adapter, *, retention: Retention) -> Change:
    """What a put of that adapter makes of a state."""

    def change(state: State) -> State:
        if (state.active, adapter.digest) in state.versions:
            return state
        number = state.versions[-1][0] + 1 if state.versions else 1
        versions = (*state.versions, (number, adapter.digest))
        return State(versions if retention.versions is None else versions[-retention.versions :], number)

    return change


def activating(version: int) -> Change:
    """What `activate` makes of a state."""
    return lambda state: State(state.versions, version)


def same(state: State) -> State:
    """What a call that changes no adapter makes of a state."""
    return state


def nobody(_: State) -> State:
    """What a deletion makes of a state."""
    return State()


class Broken(Exception):
    """A store holds something that no order of the calls made on it explains."""


def seen(store: AdapterStore) -> State:
    """What a reader finds, once it has read every version. Raises: `Broken` unless it is whole."""
    try:
        listed = store.versions(KEY)
        for stored in listed:
            found, adapter = store.get(KEY, version=stored.version)
            if found != stored or adapter.digest != stored.digest:
                raise Broken("a version is not what was listed")
        if store.users(KEY.scope) != [KEY.user]:
            raise Broken("not listed")
    except AdapterNotFound:
        if store.users(KEY.scope):
            raise Broken("listed without an adapter") from None
        return State()
    except HypernetError as error:
        raise Broken(f"{error.code}: {error}") from error
    (active,) = (stored.version for stored in listed if stored.active)
    return State(tuple((stored.version, stored.digest) for stored in listed), active)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A call that a process dies in."""

    action: Callable[[AdapterStore], object]
    change: Change
    """What the call makes of a state."""
    adapters: tuple[Adapter, ...] = ()
    """What was put before, in this order."""
    died: Callable[["Scenario", Storages], None] = lambda *_: None
    """What processes left there that died before."""
    retention: Retention = _ALL
    provider: HeldKeys = field(default_factory=lambda: HeldKeys([OLD_ROOT]))
    finished: Callable[[AdapterStore, Storages, Contents], bool] = lambda *_: True
    """Whether the call has done what it is for beside the change of state; given the keys as they were before."""

    def store(self, storages: Storages, **options: Any) -> AdapterStore:
        """A store as this scenario has it, which knows nothing yet."""
        return store_of(storages, **({"provider": self.provider, "retention": self.retention} | options))

    def prepared(self) -> tuple[State, tuple[Contents, Contents]]:
        """What is there before the call: as a reader finds it, and as it lies in both storages."""
        random.seed(0)
        storages: Storages = MemoryObjects(), MemoryObjects()
        store = self.store(storages, provider=HeldKeys([OLD_ROOT]))
        for adapter in self.adapters:
            store.put(KEY, adapter)
        self.died(self, storages)
        return seen(store), (_contents(storages[0]), _contents(storages[1]))


class DyingAtTheCommit(Wrapped):
    """The end of a writer that has written its object and does not get to the pointer, or gets no further."""

    def swap(self, name: str, data: bytes, *, expected: str | None) -> str:
        """Ends there: a pointer to an adapter is not written any more, an empty one is."""
        if name == POINTER and is_live(data):
            raise KeyboardInterrupt
        tag = super().swap(name, data, expected=expected)
        if name == POINTER:
            raise KeyboardInterrupt
        return tag


def _writers(scenario: Scenario, storages: Storages) -> None:
    with suppress(KeyboardInterrupt):
        scenario.store((DyingAtTheCommit(storages[0]), storages[1])).put(KEY, LATER)
    storages[0].write(f"{KEY.prefix}objects/{'0' * 32}.unfinished", b"half of")
    storages[1].write(f"{KEY.prefix}{'0' * 32}", b"a key that sealed nothing")


def _an_erasure(scenario: Scenario, storages: Storages) -> None:
    with suppress(KeyboardInterrupt):
        scenario.store((DyingAtTheCommit(storages[0]), storages[1])).erase(KEY)


def _contents(storage: ObjectStorage) -> Contents:
    found = {name: storage.read(name) for name in storage.names(KEY.scope.prefix)}
    return {name: present.data for name, present in found.items() if present is not None}


def _has_given_a_receipt(store: AdapterStore, _: Storages, __: Contents) -> bool:
    return {receipt.line["user"] for receipt in store.receipts(KEY)} == {store.pseudonym(KEY)}


def _has_another_tenant_key(_: AdapterStore, storages: Storages, before: Contents) -> bool:
    name = f"{KEY.scope.prefix}.keys"
    present = storages[1].read(name)
    kept, earlier = (
        [entry["id"] for entry in json.loads(data)["keys"]] for data in (present.data if present else b"", before[name])
    )
    return len(kept) == 1 and kept != earlier


def _needs_the_old_root_no_more(_: AdapterStore, storages: Storages, __: Contents) -> bool:
    return bool(seen(store_of(storages, provider=HeldKeys([NEW_ROOT]))).versions)


SCENARIOS: dict[str, Scenario] = {
    "put-first": Scenario(
        action=lambda store: store.put(KEY, FIRST),
        change=putting(FIRST, retention=_ALL),
    ),
    "put-second": Scenario(
        adapters=(FIRST,),
        action=lambda store: store.put(KEY, SECOND),
        change=putting(SECOND, retention=_ALL),
    ),
    "put-known": Scenario(
        adapters=(FIRST,),
        action=lambda store: (store.head(KEY), store.put(KEY, SECOND)),
        change=putting(SECOND, retention=_ALL),
    ),
    "put-same": Scenario(
        adapters=(FIRST, SECOND),
        action=lambda store: store.put(KEY, SECOND),
        change=putting(SECOND, retention=_ALL),
    ),
    "put-with-retention": Scenario(
        adapters=(FIRST, SECOND),
        retention=_ONE,
        action=lambda store: store.put(KEY, THIRD),
        change=putting(THIRD, retention=_ONE),
    ),
    "activate": Scenario(
        adapters=(FIRST, SECOND),
        action=lambda store: store.activate(KEY, 1),
        change=activating(1),
    ),
    "erase": Scenario(
        adapters=(FIRST, SECOND),
        action=lambda store: store.erase(KEY),
        change=nobody,
        finished=_has_given_a_receipt,
    ),
    "erase-again": Scenario(
        adapters=(FIRST, SECOND),
        died=_an_erasure,
        action=lambda store: store.erase(KEY),
        change=nobody,
        finished=_has_given_a_receipt,
    ),
    "put-after-erase": Scenario(
        adapters=(FIRST, SECOND),
        died=_an_erasure,
        action=lambda store: store.put(KEY, FIRST),
        change=putting(FIRST, retention=_ALL),
        finished=_has_given_a_receipt,
    ),
    "sweep": Scenario(
        adapters=(FIRST, SECOND),
        died=_writers,
        action=lambda store: store.sweep(KEY),
        change=same,
    ),
    "rotate": Scenario(
        adapters=(FIRST, SECOND),
        action=lambda store: store.rotate_tenant_key(KEY.scope),
        change=same,
        finished=_has_another_tenant_key,
    ),
    "rotate-root": Scenario(
        adapters=(FIRST, SECOND),
        provider=HeldKeys([NEW_ROOT, OLD_ROOT]),
        action=lambda store: store.rotate_root_key(KEY.scope),
        change=same,
        finished=_needs_the_old_root_no_more,
    ),
}
