"""What the adapter store promises of encryption and of its keys, over each storage of objects."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from hypernet.errors import (
    StoreCorrupt,
)
from hypernet.storage import TenantScope
from hypernet.storage.key_provider import HeldKeys
from hypernet.storage.key_ring import KeyRing, TenantKeys
from hypernet.storage.memory import MemoryObjects
from hypernet.storage.object_storage import ObjectStorage
from hypernet.storage.sealing import new_key
from tests.samples import sample_adapter
from tests.storages import ACME, ADA, ROOT_KEYS, Wrapped, store_of


def contents(storage: ObjectStorage, prefix: str) -> dict[str, bytes]:
    return {name: storage.read(name).data for name in storage.names(prefix)}


def copied(storage: ObjectStorage, prefix: str) -> MemoryObjects:
    copy = MemoryObjects()
    for name, data in contents(storage, prefix).items():
        copy.write(name, data)
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
    store.erase(ADA)
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
    adapters = [contents(storages[0], user.prefix) for user in users]
    keys = contents(storages[1], "acme/")
    audit_key = keys.pop("acme/.audit")

    assert store.rotate_tenant_key(ACME) == 3
    assert [contents(storages[0], user.prefix) for user in users] == adapters
    assert all(storages[1].read(name).data != data for name, data in keys.items())
    assert sorted(storages[1].names("acme/")) == sorted([*keys, "acme/.audit"])
    assert storages[1].read("acme/.audit").data == audit_key
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
    assert both.rotate_root_key(ACME) == 2
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


def test_store_keeps_nobody_in_memory_for_having_been_listed(storages, store):
    store.put(ADA, sample_adapter(0))
    fresh = store_of(storages)
    assert fresh.users(ACME) == ["ada"]
    assert fresh.verify_audit(ACME).problems == []
    assert (fresh._states.known(ADA), len(fresh._keys._users)) == (None, 0)
    fresh.get(ADA)
    assert fresh._states.known(ADA) is not None
