"""What the adapter store promises of erasures and their receipts, over each storage of objects."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from hypernet.errors import AdapterNotFound, StoreCorrupt, StoreUnavailable
from hypernet.storage.audit_keys import AuditKeys
from hypernet.storage.audit_log import AuditLine, hash_of, line_bytes
from hypernet.storage.object_storage import ObjectStorage
from hypernet.storage.receipts import Receipt
from tests.samples import sample_adapter
from tests.storages import ACME, ADA, Wrapped, store_of


def test_erasure_leaves_nothing_of_the_user_and_a_receipt_that_says_what_it_was(storages, store):
    for seed in range(3):
        store.put(ADA, sample_adapter(seed))
    storages[0].write("acme/ada/jobs/1/input", b"what a job was given")
    sizes = storages[0].names("acme/ada/")
    del sizes["acme/ada/pointer"]
    (key_id,) = (name.rpartition("/")[2] for name in storages[1].names("acme/ada/"))
    secret = store._keys.get(ADA, key_id).secret

    receipt = store.erase(ADA)

    assert list(storages[0].names("acme/ada/")) in ([], ["acme/ada/pointer"])
    assert storages[1].names("acme/ada/") == {}
    assert (receipt.line["objects"], receipt.line["bytes"]) == (4, sum(sizes.values()))
    assert receipt.line["keys"] == [{"id": key_id, "sha256": hashlib.sha256(secret).hexdigest()}]
    assert receipt.line["user"] == store.pseudonym(ADA)
    assert receipt.problems(public_key=store.audit_key(ACME), log=store.audit_lines(ACME)) == []
    assert store.receipts(ADA) == [receipt]
    with pytest.raises(AdapterNotFound):
        store.erase(ADA)
    store.put(ADA, sample_adapter(0))
    assert store.receipts(ADA) == [receipt]
    assert store.receipts(ADA) != store.receipts(ACME.user("bob")) == []


@pytest.fixture
def receipt(store) -> Receipt:
    store.put(ADA, sample_adapter(0))
    return store.erase(ADA)


def test_receipt_reads_as_it_was_written(receipt):
    assert Receipt.from_bytes(json.dumps(receipt.to_dict()).encode()) == receipt
    for other in (
        b"",
        b"{}",
        b"[]",
        b"{" * 100_000,
        b'{"format":1,"public_key":"","signature":"","hash":"","line":' + b'{"a":' * 990 + b"1" + b"}" * 991,
        *(
            json.dumps(receipt.to_dict() | change).encode()
            for change in ({"format": 2}, {"line": []}, {"signature": 7}, {"note": "and more"})
        ),
    ):
        with pytest.raises(StoreCorrupt, match="not a receipt"):
            Receipt.from_bytes(other)


def test_receipt_that_was_changed_is_found_out(store, receipt):
    content = receipt.to_dict()
    for name, value in content["line"].items():
        other = content["line"] | {name: value + 1 if isinstance(value, int) else f"{value}0"}
        assert Receipt.from_bytes(json.dumps(content | {"line": other}).encode()).problems()
        forged = replace(receipt, line=other, hash=hash_of(line_bytes(other)))
        assert "its signature does not match what it says" in forged.problems()
    spelled = content["signature"][:-3] + chr(ord(content["signature"][-3]) + 1) + "=="
    for change in (
        {"hash": "0" * 64},
        {"signature": "AAAA"},
        {"signature": spelled},
        {"public_key": "00" * 32},
        {"public_key": "none"},
    ):
        assert Receipt.from_bytes(json.dumps(content | change).encode()).problems()
    assert receipt.problems() == []


def test_receipt_that_somebody_else_signed_is_found_out_by_the_key(store, receipt):
    forger = AuditKeys.from_secret(b"f" * 32)
    forged = Receipt.of(AuditLine(content=dict(receipt.line) | {"objects": 0}, segment=0), keys=forger)
    assert forged.problems() == []  # which is why the operator's key has to be known
    assert forged.problems(public_key=store.audit_key(ACME)) == ["it was signed by another key than the one expected"]


def test_receipt_is_for_a_line_of_the_log_and_for_an_erasure(store, receipt):
    assert receipt.problems(log=[]) == ["the log does not hold its line"]
    lines = list(store.audit_lines(ACME))
    assert receipt.problems(log=lines) == []
    assert any("not whole" in problem for problem in receipt.problems(log=lines[1:]))
    keys = store._audit_keys.of(ACME)
    other = Receipt.of(AuditLine(content=dict(receipt.line) | {"event": "put"}, segment=0), keys=keys)
    assert other.problems() == ["its line is not that of an erasure"]


def test_erasure_drains_after_nobody_is_answered_any_more_and_before_anything_is_destroyed(storages, store):
    for seed in range(2):
        store.put(ADA, sample_adapter(seed))
    seen: list[Any] = []

    def drain() -> None:
        with pytest.raises(AdapterNotFound):
            store.head(ADA)
        seen.extend([len(storages[0].names("acme/ada/objects/")), len(storages[1].names("acme/ada/"))])

    store.erase(ADA, drain=drain)
    assert seen == [2, 1]


class DyingAt(Wrapped):
    """A storage whose process ends at the call number so."""

    def __init__(self, inner: ObjectStorage, moment: int) -> None:
        super().__init__(inner)
        self.moment = moment
        self.calls = 0

    def _tick(self) -> None:
        self.calls += 1
        if self.calls == self.moment:
            raise KeyboardInterrupt

    def swap(self, name: str, data: bytes, *, expected: str | None) -> str:
        self._tick()
        return super().swap(name, data, expected=expected)

    def remove(self, name: str) -> None:
        self._tick()
        super().remove(name)

    def remove_if(self, name: str, *, expected: str) -> bool:
        self._tick()
        return super().remove_if(name, expected=expected)


@pytest.mark.parametrize("moment", range(1, 8))
@pytest.mark.parametrize("after", ["erase", "sweep", "put"])
def test_erasure_that_was_cut_short_is_ended_by_who_comes_next_with_its_receipt(storages, store, moment, after):
    for seed in range(2):
        store.put(ADA, sample_adapter(seed))
    size = sum(storages[0].names("acme/ada/objects/").values())
    with pytest.raises(KeyboardInterrupt):
        store_of((DyingAt(storages[0], moment), storages[1])).erase(ADA)
    committed = moment > 2  # the line, then the pointer

    later = store_of(storages)
    assert (later.users(ACME) == []) == committed
    if after == "erase":
        receipt = later.erase(ADA)
        assert receipt in later.receipts(ADA)
    elif after == "sweep":
        later.sweep(ADA)
    else:
        later.put(ADA, sample_adapter(5))
        assert [stored.digest for stored in later.versions(ADA)][-1] == sample_adapter(5).digest
    receipts = later.receipts(ADA)
    assert len(receipts) == (committed or after == "erase")
    for each in receipts:
        assert (each.line["objects"], each.line["bytes"]) == (2, size)
        assert each.problems(public_key=later.audit_key(ACME), log=later.audit_lines(ACME)) == []
    if committed:
        live = {"erase": 0, "sweep": 0, "put": 1}[after]
        assert len(storages[0].names("acme/ada/objects/")) == len(storages[1].names("acme/ada/")) == live
    assert later.verify_audit(ACME).problems == []


def test_erasure_whose_answer_is_lost_can_be_asked_for_again(storages, store):
    class Silent(Wrapped):
        def swap(self, name: str, data: bytes, *, expected: str | None) -> str:
            tag = super().swap(name, data, expected=expected)
            if "/.receipts/" in name:
                raise StoreUnavailable("no answer")
            return tag

    store.put(ADA, sample_adapter(0))
    with pytest.raises(StoreUnavailable):
        store_of((Silent(storages[0]), storages[1])).erase(ADA)
    assert store.erase(ADA) == store.receipts(ADA)[0]


def test_erasure_drains_again_where_it_was_cut_short(storages, store):
    store.put(ADA, sample_adapter(0))
    with pytest.raises(KeyboardInterrupt):
        store_of((DyingAt(storages[0], 3), storages[1])).erase(ADA)
    drained: list[int] = []
    store.erase(ADA, drain=lambda: drained.append(len(storages[1].names("acme/ada/"))))
    assert drained == [1]


@pytest.mark.parametrize("condition", [{"if_version": 1}, {"if_version": 7}, {"if_digest": "0" * 64}])
def test_erasure_on_a_condition_is_not_given_the_receipt_of_another_one(storages, store, condition):
    store.put(ADA, sample_adapter(0))
    with pytest.raises(KeyboardInterrupt):
        store_of((DyingAt(storages[0], 3), storages[1])).erase(ADA)
    with pytest.raises(AdapterNotFound):
        store.erase(ADA, **condition)
    assert len(store.receipts(ADA)) == 1
    assert storages[1].names("acme/ada/") == {}


def test_erasures_of_one_user_at_once_are_one(storages, store):
    store.put(ADA, sample_adapter(0))
    stores = [store_of(storages) for _ in range(8)]

    def erase(number: int) -> Receipt | None:
        try:
            return stores[number].erase(ADA)
        except AdapterNotFound:
            return None

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(erase, range(8)))
    assert {receipt.hash for receipt in found if receipt is not None} == {store.receipts(ADA)[0].hash}
    lines = [json.loads(line) for line in store.audit_lines(ACME)]
    assert 1 <= len([line for line in lines if line.get("event") == "erased"]) <= 8
    assert store.verify_audit(ACME).problems == []


def forged_vacant(store, **owed: Any) -> bytes:
    """What somebody writes who knows the format and has no key."""
    content = {"format": 2, "vacant": True, "commits": [], "owed": owed}
    plain = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return json.dumps(content | {"vouched": hashlib.sha256(plain.encode()).hexdigest()}).encode()


def test_vacant_pointer_that_was_forged_destroys_nothing_and_gets_no_receipt(storages, store):
    store.put(ADA, sample_adapter(0))
    live = storages[0].read("acme/ada/pointer")
    keys = storages[1].names("acme/ada/")
    for owed in (
        {},
        {"change": "0" * 32, "lane": "0", "segment": 0, "line": 0},
        {"change": "../../../outside", "lane": "0", "segment": "x", "line": 1.5},
    ):
        tag = storages[0].read("acme/ada/pointer").tag
        storages[0].swap("acme/ada/pointer", forged_vacant(store, **owed), expected=tag)
        for call in (store.sweep, store.head, store.get, lambda key: store.put(key, sample_adapter(1))):
            with pytest.raises(StoreCorrupt, match="pointer was changed"):
                call(ADA)
        assert None in list(store.sweep_tenant(ACME))
    assert storages[1].names("acme/ada/") == keys
    storages[0].swap("acme/ada/pointer", live.data, expected=storages[0].read("acme/ada/pointer").tag)
    assert store.get(ADA)[1].digest == sample_adapter(0).digest
    assert store.receipts(ADA) == []


def test_vacant_pointer_of_another_user_is_a_forged_one(storages, store):
    for user in ("ada", "bob"):
        store.put(ACME.user(user), sample_adapter(0))
    with pytest.raises(KeyboardInterrupt):
        store_of((DyingAt(storages[0], 3), storages[1])).erase(ADA)
    forged = storages[0].read("acme/ada/pointer").data
    storages[0].swap("acme/bob/pointer", forged, expected=storages[0].read("acme/bob/pointer").tag)
    with pytest.raises(StoreCorrupt, match="pointer was changed"):
        store.sweep(ACME.user("bob"))
    assert store.receipts(ACME.user("bob")) == []


def test_erasure_of_what_can_no_longer_be_read_is_one_all_the_same(storages, store):
    for rotten in (b"rotten", b"{", b""):
        store.put(ADA, sample_adapter(0))
        storages[0].swap("acme/ada/pointer", rotten, expected=storages[0].read("acme/ada/pointer").tag)
        assert store.erase(ADA).line["objects"] == 1
        assert storages[1].names("acme/ada/") == storages[0].names("acme/ada/objects/") == {}


def test_receipt_that_was_put_in_anothers_place_or_changed_there_is_not_given_out(storages, store, receipt):
    bob = ACME.user("bob")
    name = f"acme/.receipts/{store.pseudonym(ADA)}/{receipt.line['change']}"
    data = storages[0].read(name).data
    storages[0].write(f"acme/.receipts/{store.pseudonym(bob)}/{receipt.line['change']}", data)
    with pytest.raises(StoreCorrupt, match="another's"):
        store.receipts(bob)
    storages[0].write(name, data.replace(b'"objects": 1', b'"objects": 0'))
    with pytest.raises(StoreCorrupt):
        store.receipts(ADA)
    with pytest.raises(StoreCorrupt):
        store.verify_audit(ACME)
