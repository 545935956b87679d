"""What every adapter store promises, run against each of them."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hypernet.errors import (
    AdapterInvalid,
    AdapterNotFound,
    ObjectChanged,
    PreconditionFailed,
    StoreCorrupt,
    StoreUnavailable,
    VersionNotFound,
)
from hypernet.storage import AdapterStore, Retention, TenantScope
from hypernet.storage.directory import DirectoryObjects
from hypernet.storage.key_provider import HeldKeys
from hypernet.storage.key_ring import KeyRing, TenantKeys
from hypernet.storage.keys import segment
from hypernet.storage.memory import MemoryObjects
from hypernet.storage.object_storage import ObjectStorage
from hypernet.storage.pointer import is_live
from hypernet.storage.s3 import S3Objects
from hypernet.storage.sealing import new_key
from tests.samples import sample_adapter, sample_provenance
from tests.storages import Wrapped

ACME = TenantScope("acme")
ADA = ACME.user("ada")


ROOT_KEYS = HeldKeys([new_key()])
Storages = tuple[ObjectStorage, ObjectStorage]


@pytest.fixture(params=["memory", "directory", "s3"])
def storages(request: pytest.FixtureRequest, tmp_path: Path) -> Storages:
    """Where the adapters lie, and where the keys do."""
    if request.param == "memory":
        return MemoryObjects(), MemoryObjects()
    if request.param == "directory":
        return DirectoryObjects(tmp_path / "adapters"), DirectoryObjects(tmp_path / "keys")
    buckets = request.getfixturevalue("s3_buckets")
    return S3Objects(next(buckets)), S3Objects(next(buckets))


def store_of(storages: Storages, **options: Any) -> AdapterStore:
    return AdapterStore(objects=storages[0], keys=storages[1], **({"provider": ROOT_KEYS} | options))


@pytest.fixture
def store(storages: Storages) -> Iterator[AdapterStore]:
    store = store_of(storages)
    yield store
    store.close()


def test_store_returns_what_was_put(store):
    adapter = sample_adapter(scaling=2.0)
    before = datetime.now(UTC)
    put = store.put(ADA, adapter)
    stored, loaded = store.get(ADA)

    assert stored == put == store.head(ADA)
    assert loaded.digest == adapter.digest == put.digest
    assert loaded.provenance == adapter.provenance
    assert (put.user, put.version, put.active, put.rank) == ("ada", 1, True, 2)
    assert put.size_bytes == adapter.size_bytes
    assert (put.base_model_digest, put.document_digest) == ("b" * 64, "d" * 64)
    assert before <= put.created_at <= datetime.now(UTC)
    assert put.created_at.utcoffset().total_seconds() == 0


def test_store_keeps_every_version_and_serves_the_newest(store):
    digests = [store.put(ADA, sample_adapter(seed)).digest for seed in range(3)]

    assert [stored.version for stored in store.versions(ADA)] == [1, 2, 3]
    assert [stored.digest for stored in store.versions(ADA)] == digests
    assert [stored.active for stored in store.versions(ADA)] == [False, False, True]
    assert store.head(ADA).version == 3
    for version, digest in enumerate(digests, start=1):
        stored, adapter = store.get(ADA, version=version)
        assert (stored.version, stored.digest, adapter.digest) == (version, digest, digest)


def test_store_put_of_the_active_adapter_makes_no_version(store):
    first = store.put(ADA, sample_adapter(scaling=2.0))

    assert store.put(ADA, sample_adapter(scaling=2.0).folded()) == first
    assert len(store.versions(ADA)) == 1


def test_store_put_of_an_earlier_adapter_makes_a_version(store):
    for seed in (0, 1, 0):
        store.put(ADA, sample_adapter(seed))

    assert [stored.digest for stored in store.versions(ADA)] == [sample_adapter(seed).digest for seed in (0, 1, 0)]


def test_store_activate_rolls_back_and_forth(store):
    first, second = store.put(ADA, sample_adapter(0)), store.put(ADA, sample_adapter(1))

    assert store.activate(ADA, 1).digest == first.digest
    assert store.get(ADA)[1].digest == first.digest
    assert [stored.active for stored in store.versions(ADA)] == [True, False]
    assert store.put(ADA, sample_adapter(2)).version == 3
    assert store.activate(ADA, 2).digest == second.digest


def test_store_if_version_lets_only_the_expected_write_through(store):
    with pytest.raises(PreconditionFailed) as caught:
        store.put(ADA, sample_adapter(), if_version=1)
    assert (caught.value.expected, caught.value.actual) == (1, 0)

    store.put(ADA, sample_adapter(0), if_version=0)
    store.put(ADA, sample_adapter(1), if_version=1)
    for stale in (0, 1, 3):
        with pytest.raises(PreconditionFailed):
            store.put(ADA, sample_adapter(2), if_version=stale)
    # Also where there would be nothing to write.
    with pytest.raises(PreconditionFailed):
        store.put(ADA, sample_adapter(1), if_version=1)
    assert store.head(ADA).digest == sample_adapter(1).digest


def test_store_if_version_guards_activation_and_deletion_too(store):
    store.put(ADA, sample_adapter(0))
    store.put(ADA, sample_adapter(1))
    for stale in (0, 1, 3):
        with pytest.raises(PreconditionFailed):
            store.activate(ADA, 1, if_version=stale)
        with pytest.raises(PreconditionFailed):
            store.delete(ADA, if_version=stale)
    assert store.head(ADA).version == 2

    assert store.activate(ADA, 1, if_version=2).version == 1
    store.delete(ADA, if_version=1)
    for call in (lambda: store.activate(ADA, 1, if_version=1), lambda: store.delete(ADA, if_version=1)):
        with pytest.raises(AdapterNotFound):
            call()


def test_store_if_digest_tells_an_adapter_from_a_later_one_of_the_same_number(store):
    known = store.put(ADA, sample_adapter(0))
    store.delete(ADA)
    assert store.put(ADA, sample_adapter(1)).version == known.version == 1
    for call in (
        lambda **conditions: store.put(ADA, sample_adapter(2), **conditions),
        lambda **conditions: store.activate(ADA, 1, **conditions),
        lambda **conditions: store.delete(ADA, **conditions),
    ):
        with pytest.raises(PreconditionFailed, match="another adapter"):
            call(if_version=1, if_digest=known.digest)
    assert store.head(ADA).digest == sample_adapter(1).digest
    with pytest.raises(PreconditionFailed):
        store.put(ACME.user("nobody"), sample_adapter(2), if_digest=known.digest)

    assert store.put(ADA, sample_adapter(2), if_version=1, if_digest=sample_adapter(1).digest).version == 2
    store.delete(ADA, if_version=2, if_digest=sample_adapter(2).digest)


def test_store_if_version_has_one_winner_among_many_writers(store):
    store.put(ADA, sample_adapter(0))
    barrier = threading.Barrier(8)

    def write(seed: int) -> int | None:
        barrier.wait()
        try:
            return store.put(ADA, sample_adapter(seed), if_version=1).version
        except PreconditionFailed:
            return None

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(write, range(1, 9)))

    assert sorted(outcomes, key=str) == [2, *[None] * 7]
    assert len(store.versions(ADA)) == 2


def test_store_loses_no_write_of_many_writers(store):
    with ThreadPoolExecutor(8) as pool:
        written = list(pool.map(lambda seed: store.put(ADA, sample_adapter(seed)), range(24)))

    assert sorted(stored.version for stored in written) == list(range(1, 25))
    kept = {stored.version: stored.digest for stored in store.versions(ADA)}
    assert {stored.version: stored.digest for stored in written} == kept
    assert all(store.get(ADA, version=version)[1].digest == digest for version, digest in kept.items())


def test_store_readers_see_whole_versions_while_it_is_written_to(store):
    known = {sample_adapter(seed).digest for seed in range(16)}
    store.put(ADA, sample_adapter(0))
    done = threading.Event()

    def read() -> int:
        reads = 0
        while not done.is_set() or reads == 0:
            stored, adapter = store.get(ADA)
            assert adapter.digest == stored.digest
            assert stored.digest in known
            reads += 1
        return reads

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        try:
            for seed in range(1, 16):
                store.put(ADA, sample_adapter(seed))
        finally:
            done.set()
        assert all(reader.result() > 0 for reader in readers)


def test_store_readers_see_an_adapter_or_none_while_it_is_deleted_and_put_again(store):
    store.put(ADA, sample_adapter(0))
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                stored, adapter = store.get(ADA)
            except AdapterNotFound:
                continue
            assert adapter.digest == stored.digest

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        try:
            for seed in range(1, 12):
                store.delete(ADA)
                store.put(ADA, sample_adapter(seed))
        finally:
            done.set()
        for reader in readers:
            reader.result()


@pytest.mark.parametrize("call", ["head", "get", "versions", "delete", "activate"])
def test_store_says_the_same_for_an_unknown_user_an_erased_one_and_another_tenants(store, call):
    store.put(TenantScope("globex").user("ada"), sample_adapter())
    store.put(ACME.user("grace"), sample_adapter())
    store.delete(ACME.user("grace"))
    messages = set()
    for key in (ADA, ACME.user("grace"), ACME.user("nobody")):
        with pytest.raises(AdapterNotFound) as caught:
            getattr(store, call)(key, *([1] if call == "activate" else []))
        messages.add(str(caught.value))

    assert messages == {"No such adapter."}


@pytest.mark.parametrize("version", [0, -1, 3, 10**12])
def test_store_says_which_versions_there_are(store, version):
    store.put(ADA, sample_adapter(0))
    store.put(ADA, sample_adapter(1))

    for call in (lambda: store.get(ADA, version=version), lambda: store.activate(ADA, version)):
        with pytest.raises(VersionNotFound, match="versions 1 to 2"):
            call()
    assert store.head(ADA).version == 2


def test_store_delete_removes_every_version_and_counts_anew(store):
    store.put(ADA, sample_adapter(0))
    store.put(ADA, sample_adapter(1))
    store.delete(ADA)

    assert store.users(ACME) == []
    with pytest.raises(AdapterNotFound):
        store.get(ADA, version=1)
    assert store.put(ADA, sample_adapter(2), if_version=0).version == 1
    with pytest.raises(VersionNotFound):
        store.get(ADA, version=2)


def test_store_keeps_users_and_tenants_with_similar_names_apart(store):
    keys = [
        TenantScope(tenant).user(user)
        for tenant in ("t", "T", "t1")
        for user in ("user1", "user10", "User1", "user1 x", "user", "%75ser1", "é", "e\u0301", "u" * 127, "u" * 128)
    ]
    for seed, key in enumerate(keys):
        store.put(key, sample_adapter(seed))

    for seed, key in enumerate(keys):
        assert store.get(key)[1].digest == sample_adapter(seed).digest
        assert store.head(key).user == key.user
    store.delete(keys[0])
    assert [store.head(key).version for key in keys[1:]] == [1] * (len(keys) - 1)


def test_store_lists_users_in_order_and_in_pages(store):
    names = ["ada", "Ada", "zoë", "你" * 90, "😀", "bob", "b" * 128, "a.b", "ada-lovelace", "ada_", "ada0"]
    names = sorted(names, key=lambda name: f"{segment(name)}/")
    for name in names:
        store.put(ACME.user(name), sample_adapter())
    store.put(TenantScope("globex").user("eve"), sample_adapter())

    assert store.users(ACME) == names
    assert store.users(ACME, limit=3) == names[:3]
    assert store.users(ACME, after=names[2], limit=3) == names[3:6]
    assert store.users(ACME, after="c") == [name for name in names if segment(name) > "c"]
    assert store.users(ACME, after=names[-1]) == []
    assert store.users(TenantScope("nobody")) == []


def test_store_puts_nothing_that_is_not_sound(store):
    store.put(ADA, sample_adapter())
    adapter = sample_adapter(1)
    adapter.modules["model.layers.0.mlp.down_proj"].a[0, 0] = float("nan")

    with pytest.raises(AdapterInvalid, match="not finite"):
        store.put(ADA, adapter)
    assert len(store.versions(ADA)) == 1


@pytest.mark.parametrize("options", [{"x": [1]}, {"x": (1, 2)}, {"x": float("nan")}, {"x": object()}, {1: 2}])
def test_store_puts_nothing_that_it_could_not_give_back(store, options):
    store.put(ADA, sample_adapter())
    provenance = sample_provenance(options={})
    # Behind the back of the type checker, which runs in tests only.
    object.__setattr__(provenance, "options", options)

    with pytest.raises(AdapterInvalid, match="provenance"):
        store.put(ADA, sample_adapter(1, provenance=provenance))
    with pytest.raises(AdapterInvalid, match="format 2"):
        store.put(ADA, sample_adapter(1, provenance=sample_provenance(format_version=2)))
    assert store.get(ADA)[1].digest == sample_adapter().digest


def test_store_keeps_no_hold_of_the_tensors_it_was_given(store):
    adapter = sample_adapter()
    digest = store.put(ADA, adapter).digest
    for _, loaded in (store.get(ADA), (None, adapter)):
        loaded.modules["model.layers.0.mlp.down_proj"].a.zero_()

    assert store.get(ADA)[1].canonical_bytes() == sample_adapter().canonical_bytes()
    assert digest == sample_adapter().digest


def test_store_tells_adapters_of_equal_weights_and_another_origin_apart(store):
    first = store.put(ADA, sample_adapter())
    second = store.put(ADA, sample_adapter(provenance=sample_provenance(document_digest="e" * 64)))

    assert (first.version, second.version) == (1, 2)
    assert second.document_digest == "e" * 64


def test_store_check_is_quiet_while_the_store_works(store):
    store.check()

    assert store.users(ACME) == []


def test_store_that_is_closed_says_so(store):
    store.put(ADA, sample_adapter())
    store.close()

    calls = (
        store.check,
        lambda: store.put(ADA, sample_adapter()),
        lambda: store.head(ADA),
        lambda: store.get(ADA),
        lambda: store.versions(ADA),
        lambda: store.activate(ADA, 1),
        lambda: store.users(ACME),
        lambda: store.delete(ADA),
    )
    for call in calls:
        with pytest.raises(StoreUnavailable, match="closed"):
            call()
    store.close()


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
        objects, _ = self._listed(key)
        referred = {record.object for record in self._read(key).pointer.versions}
        self._remove(key, ([name for name in objects if name.rpartition("/")[2] not in referred], []))
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
            super().swap(name, data, expected=expected)
            store.delete(ADA)
            store.put(ADA, sample_adapter(9))
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


def copied(storage: ObjectStorage, prefix: str) -> MemoryObjects:
    copy = MemoryObjects()
    for name in storage.names(prefix):
        copy.write(name, storage.read(name).data)
    return copy


def test_store_keeps_nothing_in_the_clear_but_names(storages, store):
    adapter = sample_adapter(0)
    store.put(ADA, adapter)
    weights = adapter.modules["model.layers.0.mlp.down_proj"].a.numpy().tobytes()
    for storage in storages:
        for name in storage.names("acme/"):
            data = storage.read(name).data
            assert weights[:16] not in data
            assert b"down_proj" not in data
            assert adapter.digest.encode() not in data
            assert adapter.provenance.document_digest.encode() not in data
    assert weights[:16] in adapter.canonical_bytes()


def test_store_copied_before_a_deletion_gives_nothing_of_that_user_after_it(storages, store):
    store.put(ADA, sample_adapter(0))
    store.put(ACME.user("bob"), sample_adapter(1))
    copy = copied(storages[0], "acme/")
    store.delete(ADA)
    later = store_of((copy, storages[1]))

    with pytest.raises(StoreCorrupt, match="key of a stored adapter is missing"):
        later.get(ADA)
    assert later.get(ACME.user("bob"))[1].digest == sample_adapter(1).digest
    # The twin: with its key it would be readable.
    store.put(ADA, sample_adapter(0))
    assert store_of((copied(storages[0], "acme/"), storages[1])).get(ADA)[1].digest == sample_adapter(0).digest


def test_store_serves_no_object_at_another_place(storages, store):
    for seed in range(2):
        store.put(ADA, sample_adapter(seed))
    store.put(ACME.user("bob"), sample_adapter(2))
    one, two = storages[0].names("acme/ada/objects/")
    (foreign,) = storages[0].names("acme/bob/objects/")
    for source in (foreign, two):
        copy = copied(storages[0], "acme/")
        copy.write(one, copy.read(source).data)
        copy.write(two, copy.read(one if source == two else source).data)
        for version in (1, 2):
            if source == two:  # swapped
                copy.write(one, storages[0].read(two).data)
                copy.write(two, storages[0].read(one).data)
            with pytest.raises(StoreCorrupt, match="another place"):
                store_of((copy, storages[1])).get(ADA, version=version)


def test_store_wraps_keys_anew_without_writing_adapters(storages, store):
    users = [ACME.user(f"user{number}") for number in range(3)]
    for seed, user in enumerate(users):
        store.put(user, sample_adapter(seed))
    adapters = {name: storages[0].read(name).data for name in storages[0].names("acme/")}
    keys = {name: storages[1].read(name).data for name in storages[1].names("acme/")}

    assert store.rotate_tenant_key(ACME) == 3
    assert {name: storages[0].read(name).data for name in storages[0].names("acme/")} == adapters
    assert all(storages[1].read(name).data != data for name, data in keys.items())
    assert sorted(storages[1].names("acme/")) == sorted(keys)
    for seed, user in enumerate(users):
        assert store_of(storages).get(user)[1].digest == sample_adapter(seed).digest
    # What was wrapped by the key before is of no use any more.
    old = MemoryObjects()
    for name, data in {**keys, "acme/.keys": storages[1].read("acme/.keys").data}.items():
        old.write(name, data)
    with pytest.raises(StoreCorrupt):
        store_of((storages[0], old)).get(users[0])


def test_store_changes_its_root_key_and_needs_the_old_one_no_more(storages):
    old, new = new_key(), new_key()
    store_of(storages, provider=HeldKeys([old])).put(ADA, sample_adapter())
    both = store_of(storages, provider=HeldKeys([new, old]))
    assert both.rotate_root_key(ACME) == 1
    assert both.rotate_root_key(ACME) == 0

    assert store_of(storages, provider=HeldKeys([new])).get(ADA)[1].digest == sample_adapter().digest
    with pytest.raises(StoreCorrupt, match="root key that is not held"):
        store_of(storages, provider=HeldKeys([old])).get(ADA)


def test_store_writers_go_on_while_keys_are_wrapped_anew(storages, store):
    with ThreadPoolExecutor(4) as pool:
        rotations = [pool.submit(store_of(storages).rotate_tenant_key, ACME) for _ in range(2)]
        written = list(pool.map(lambda n: store.put(ACME.user(f"user{n}"), sample_adapter(n)), range(12)))
        for rotation in rotations:
            rotation.result()
    store_of(storages).rotate_tenant_key(ACME)

    later = store_of(storages)  # which remembers no key
    for number, stored in enumerate(written):
        assert later.get(ACME.user(f"user{number}"))[1].digest == stored.digest


class RotatingMeanwhile(Wrapped):
    """Storage of keys in which a whole rotation happens just before a user's new key is there."""

    rotates = True

    def swap(self, name: str, data: bytes, *, expected: str | None) -> str:
        if self.rotates and not name.endswith("/.keys") and expected is None:
            self.rotates = False
            store_of((MemoryObjects(), self.inner)).rotate_tenant_key(ACME)
        return super().swap(name, data, expected=expected)


class NotLookingAgain(KeyRing):
    """The defect of using a key whatever has become of the one that wraps it."""

    seen: TenantKeys | None = None

    def _tenant_keys(self, scope: TenantScope, *, make: bool = False) -> TenantKeys:
        self.seen = self.seen or super()._tenant_keys(scope, make=make)
        return self.seen


@pytest.mark.parametrize("defect", [False, True])
def test_store_writer_whose_key_comes_after_a_rotation_wraps_it_anew(defect):
    objects, keys = MemoryObjects(), RotatingMeanwhile(MemoryObjects())
    store_of((MemoryObjects(), keys.inner)).put(ACME.user("first"), sample_adapter(0))
    store = store_of((objects, keys))
    if defect:
        store._keys = NotLookingAgain(objects=keys, provider=ROOT_KEYS)
    store.put(ADA, sample_adapter(1))
    assert not keys.rotates

    later = store_of((objects, keys.inner))
    if defect:  # the twin
        with pytest.raises(StoreCorrupt):
            later.get(ADA)
    else:
        assert later.get(ADA)[1].digest == sample_adapter(1).digest


def test_store_deletion_that_a_put_overtakes_leaves_no_key_of_a_deleted_adapter(storages, store):
    class PutMeanwhile(Wrapped):
        puts = True

        def names(self, prefix: str) -> list[str]:
            found = super().names(prefix)
            if self.puts:
                self.puts = False
                store.put(ADA, sample_adapter(1))
            return found

    store.put(ADA, sample_adapter(0))
    store_of((PutMeanwhile(storages[0]), storages[1])).delete(ADA)
    assert storages[1].names("acme/ada/") == []
    with pytest.raises(AdapterNotFound):
        store.head(ADA)


def test_store_sweep_passes_over_a_user_of_whom_something_cannot_be_read(storages, store):
    for name in ("ada", "bob", "cleo"):
        store.put(ACME.user(name), sample_adapter())
        storages[0].write(f"acme/{name}/objects/{'0' * 32}", b"left over")
    storages[0].remove("acme/bob/pointer")
    storages[0].write("acme/bob/pointer", b"rotten")

    assert list(store.sweep_tenant(ACME))[:3] == [1, None, 1]
