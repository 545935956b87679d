"""What becomes of writes that are cut short, meet others or lose their answer, over each storage of objects."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from hypernet.errors import (
    AdapterNotFound,
    ObjectChanged,
    StoreCorrupt,
    StoreUnavailable,
    VersionNotFound,
)
from hypernet.storage import AdapterStore, Retention
from hypernet.storage.memory import MemoryObjects
from hypernet.storage.pointer import is_live
from tests.samples import sample_adapter
from tests.storages import ACME, ADA, ROOT_KEYS, Wrapped, store_of


class DyingBeforeTheCommit(Wrapped):
    def swap(self, name: str, data: bytes, *, expected: str | None) -> str:
        if name.endswith("/pointer") and is_live(data):
            raise KeyboardInterrupt
        return super().swap(name, data, expected=expected)


def test_store_sweep_removes_what_writers_that_died_have_left_and_nothing_else(storages, store):
    kept = [store.put(ADA, sample_adapter(seed)) for seed in range(2)]
    dying = store_of((DyingBeforeTheCommit(storages[0]), storages[1]))
    for user in ("ada", "grace"):
        with pytest.raises(KeyboardInterrupt):
            dying.put(ACME.user(user), sample_adapter(5))
    before = storages[0].names("acme/ada/"), storages[1].names("acme/grace/")
    assert [len(names) for names in before] == [4, 1]

    assert sum(store.sweep_tenant(ACME)) == 3
    assert sum(store.sweep_tenant(ACME)) == 0
    assert [len(storages[0].names("acme/ada/")), len(storages[1].names("acme/grace/"))] == [3, 0]
    assert [stored.digest for stored in store.versions(ADA)] == [stored.digest for stored in kept]
    assert all(store.get(ADA, version=stored.version)[1].digest == stored.digest for stored in kept)
    assert store.users(ACME) == ["ada"]
    assert store.put(ACME.user("grace"), sample_adapter(5)).version == 1


def test_store_sweep_takes_nothing_from_live_writers(store):
    done = threading.Event()

    def sweep() -> int:
        count = 0
        while not done.is_set() or count == 0:
            list(store.sweep_tenant(ACME))
            count += 1
        return count

    with ThreadPoolExecutor(4) as pool:
        sweeper = pool.submit(sweep)
        try:
            written = list(pool.map(lambda seed: store.put(ADA, sample_adapter(seed)), range(12)))
        finally:
            done.set()
        sweeper.result()

    assert sorted(stored.version for stored in written) == list(range(1, 13))
    assert all(store.get(ADA, version=stored.version)[1].digest == stored.digest for stored in written)


class SweepingTooEarly(AdapterStore):
    """The defect of removing what was listed, with no fence before."""

    def sweep(self, key: Any) -> int:
        listed = self._states.listed(key).objects
        referred = self._states.referred_to(key, self._states.read(key).pointer)
        self._states.remove(key, objects=[name for name in listed if name not in referred], keys=[])
        return 0


@pytest.mark.parametrize(("kind", "lost"), [(AdapterStore, False), (SweepingTooEarly, True)])
def test_store_sweep_between_the_two_steps_of_a_write_loses_the_write_only_without_its_fence(kind, lost):
    class SweptMeanwhile(Wrapped):
        swept = False

        def swap(self, name: str, data: bytes, *, expected: str | None) -> str:
            if name.endswith("/pointer") and not self.swept:
                self.swept = True
                sweeper.sweep(ADA)
            return super().swap(name, data, expected=expected)

    storages = SweptMeanwhile(MemoryObjects()), MemoryObjects()
    sweeper = kind(objects=storages[0].inner, keys=storages[1], provider=ROOT_KEYS)
    store_of((storages[0].inner, storages[1])).put(ADA, sample_adapter(0))
    store = store_of(storages)
    put = store.put(ADA, sample_adapter(1))

    assert put.version == 2
    if lost:  # the twin
        with pytest.raises(StoreCorrupt, match="missing"):
            store.get(ADA)
    else:
        assert store.get(ADA)[1].digest == put.digest


class LosingAnswers(Wrapped):
    """A server that makes a change, whose answer is lost, and then others write before the second attempt."""

    rival: AdapterStore | None = None

    def swap(self, name: str, data: bytes, *, expected: str | None) -> str:
        tag = super().swap(name, data, expected=expected)
        if self.rival is not None and name.endswith("/pointer"):
            rival, self.rival = self.rival, None
            rival.put(ADA, sample_adapter(9))
            raise ObjectChanged("changed", unsure=True)
        return tag


@pytest.mark.parametrize("call", ["put", "activate"])
def test_store_finds_out_whether_a_write_was_made_whose_answer_was_lost(storages, store, call):
    store.put(ADA, sample_adapter(0))
    losing = LosingAnswers(storages[0])
    losing.rival = store
    slow = store_of((losing, storages[1]))
    stored = slow.put(ADA, sample_adapter(1)) if call == "put" else slow.activate(ADA, 1)

    digests = [version.digest for version in store.versions(ADA)]
    if call == "put":
        assert stored.version == 2
        assert digests == [sample_adapter(seed).digest for seed in (0, 1, 9)]
    else:
        assert digests == [sample_adapter(seed).digest for seed in (0, 9)]
    # Made once, before the rival's, and not again after it.
    assert store.head(ADA).digest == sample_adapter(9).digest


def test_store_says_when_it_cannot_find_out(storages, store):
    store.put(ADA, sample_adapter(0))

    class Forgotten(Wrapped):
        def swap(self, name: str, data: bytes, *, expected: str | None) -> str:
            tag = super().swap(name, data, expected=expected)
            if not name.endswith("/pointer"):
                return tag
            store.erase(ADA)
            store.put(ADA, sample_adapter(9))
            for _ in range(64):  # as many changes as a pointer remembers
                store.activate(ADA, 1)
            raise ObjectChanged("changed", unsure=True)

    with pytest.raises(StoreUnavailable, match="answer to a write was lost"):
        store_of((Forgotten(storages[0]), storages[1])).put(ADA, sample_adapter(1))


def test_store_keeps_the_versions_that_its_retention_says(storages):
    store = store_of(storages, retention=Retention(versions=2))
    for seed in range(3):
        store.put(ADA, sample_adapter(seed))
    assert [stored.version for stored in store.versions(ADA)] == [2, 3]
    assert len(storages[0].names("acme/ada/objects/")) == 2
    store.activate(ADA, 2)
    assert store.put(ADA, sample_adapter(4)).version == 4
    assert [stored.version for stored in store.versions(ADA)] == [3, 4]
    with pytest.raises(VersionNotFound, match="versions 3 to 4"):
        store.get(ADA, version=2)

    young = store_of(storages, retention=Retention(versions=1, days=1))
    young.put(ADA, sample_adapter(5))
    assert [stored.version for stored in young.versions(ADA)] == [3, 4, 5]
    assert store_of(storages, retention=Retention(versions=1)).put(ADA, sample_adapter(6)).version == 6
    assert [stored.version for stored in young.versions(ADA)] == [6]


def test_store_deletion_that_a_put_overtakes_leaves_no_key_of_a_deleted_adapter(storages, store):
    class PutMeanwhile(Wrapped):
        puts = True

        def names(self, prefix: str, **options: Any) -> dict[str, int]:
            found = super().names(prefix, **options)
            if self.puts:
                self.puts = False
                store.put(ADA, sample_adapter(1))
            return found

    store.put(ADA, sample_adapter(0))
    store_of((PutMeanwhile(storages[0]), storages[1])).erase(ADA)
    assert storages[1].names("acme/ada/") == {}
    with pytest.raises(AdapterNotFound):
        store.head(ADA)


def test_store_sweep_passes_over_a_user_of_whom_something_cannot_be_read(storages, store):
    for name in ("ada", "bob", "cleo"):
        store.put(ACME.user(name), sample_adapter())
        storages[0].write(f"acme/{name}/objects/{'0' * 32}", b"left over")
    storages[0].remove("acme/bob/pointer")
    storages[0].write("acme/bob/pointer", b"rotten")

    assert list(store.sweep_tenant(ACME))[:3] == [1, None, 1]
