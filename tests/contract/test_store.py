"""What the adapter store promises of versions, conditions and names, over each storage of objects."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from hypernet.errors import (
    AdapterInvalid,
    AdapterNotFound,
    PreconditionFailed,
    StoreUnavailable,
    VersionNotFound,
)
from hypernet.storage import TenantScope
from hypernet.storage.keys import segment
from tests.samples import sample_adapter, sample_provenance
from tests.storages import ACME, ADA


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
            store.erase(ADA, if_version=stale)
    assert store.head(ADA).version == 2

    assert store.activate(ADA, 1, if_version=2).version == 1
    store.erase(ADA, if_version=1)
    for call in (lambda: store.activate(ADA, 1, if_version=1), lambda: store.erase(ADA, if_version=1)):
        with pytest.raises(AdapterNotFound):
            call()


def test_store_if_digest_tells_an_adapter_from_a_later_one_of_the_same_number(store):
    known = store.put(ADA, sample_adapter(0))
    store.erase(ADA)
    assert store.put(ADA, sample_adapter(1)).version == known.version == 1
    for call in (
        lambda **conditions: store.put(ADA, sample_adapter(2), **conditions),
        lambda **conditions: store.activate(ADA, 1, **conditions),
        lambda **conditions: store.erase(ADA, **conditions),
    ):
        with pytest.raises(PreconditionFailed, match="another adapter"):
            call(if_version=1, if_digest=known.digest)
    assert store.head(ADA).digest == sample_adapter(1).digest
    with pytest.raises(PreconditionFailed):
        store.put(ACME.user("nobody"), sample_adapter(2), if_digest=known.digest)

    assert store.put(ADA, sample_adapter(2), if_version=1, if_digest=sample_adapter(1).digest).version == 2
    store.erase(ADA, if_version=2, if_digest=sample_adapter(2).digest)


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
                store.erase(ADA)
                store.put(ADA, sample_adapter(seed))
        finally:
            done.set()
        for reader in readers:
            reader.result()


@pytest.mark.parametrize("call", ["head", "get", "versions", "erase", "activate"])
def test_store_says_the_same_for_an_unknown_user_an_erased_one_and_another_tenants(store, call):
    store.put(TenantScope("globex").user("ada"), sample_adapter())
    store.put(ACME.user("grace"), sample_adapter())
    store.erase(ACME.user("grace"))
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
    store.erase(ADA)

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
    store.erase(keys[0])
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
        lambda: store.erase(ADA),
    )
    for call in calls:
        with pytest.raises(StoreUnavailable, match="closed"):
            call()
    store.close()
