"""What the adapter store promises of its audit log, over each storage of objects."""

import json
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest import mock

import pytest

from hypernet.errors import PreconditionFailed, StoreCorrupt, StoreUnavailable
from hypernet.storage import AdapterStore, TenantScope
from hypernet.storage.audit_check import check_log
from hypernet.storage.audit_log import hash_of, line_bytes
from hypernet.storage.memory import MemoryObjects
from hypernet.storage.object_storage import ObjectStorage, StoredObject
from tests.samples import sample_adapter
from tests.storages import ACME, ADA, Wrapped, store_of


def events(store: AdapterStore, scope: TenantScope = ACME) -> list[dict[str, Any]]:
    """The lines of a log in the order in which they were announced, without its signatures."""
    lines = [line for line in map(json.loads, store.audit_lines(scope)) if "event" in line]
    return sorted(lines, key=lambda line: line["at"])


def test_audit_log_tells_of_every_change_and_of_nothing_else(store):
    store.put(ADA, sample_adapter(0))
    store.put(ADA, sample_adapter(1))
    store.put(ADA, sample_adapter(1))  # changes nothing
    store.activate(ADA, 1)
    store.get(ADA)
    store.sweep(ADA)
    store.rotate_tenant_key(ACME)
    store.put(ACME.user("bob"), sample_adapter(2))
    store.erase(ADA)

    found = events(store)
    assert [(line["event"], line.get("version")) for line in found] == [
        ("put", 1),
        ("put", 2),
        ("activate", 1),
        ("rotate-tenant-key", None),
        ("put", 1),
        ("erase", None),
        ("erased", None),
    ]
    ada, bob = store.pseudonym(ADA), store.pseudonym(ACME.user("bob"))
    assert [line.get("user") for line in found] == [ada, ada, ada, None, bob, ada, ada]
    assert store.verify_audit(ACME).problems == []
    assert store.verify_audit(ACME).lines == 7


def test_audit_log_names_nobody_and_nothing_of_a_document(store):
    key = TenantScope("acme").user("ada.lovelace@example.org")
    adapter = sample_adapter(0)
    stored = store.put(key, adapter)
    store.erase(key)
    log = b"\n".join(store.audit_lines(ACME))
    for secret in ("lovelace", adapter.digest, stored.document_digest, stored.base_model_digest):
        assert secret.encode() not in log
    # The same user of another tenant, and another store's, is somebody else.
    assert store.pseudonym(key) != store.pseudonym(TenantScope("acme2").user(key.user))
    assert store.pseudonym(key) != AdapterStore.in_memory().pseudonym(key)


def test_audit_log_of_one_tenant_holds_nothing_of_another(store):
    store.put(ADA, sample_adapter(0))
    store.put(TenantScope("zeta").user("ada"), sample_adapter(0))
    assert [line["event"] for line in events(store)] == ["put"]
    assert store.audit_key(ACME) != store.audit_key(TenantScope("zeta"))


class FailingAt(Wrapped):
    """A storage that refuses to write what has this in its name."""

    def __init__(self, inner: ObjectStorage, part: str) -> None:
        super().__init__(inner)
        self.part: str | None = part

    def swap(self, name: str, data: bytes, *, expected: str | None) -> str:
        if self.part is not None and self.part in name:
            raise StoreUnavailable("no answer")
        return super().swap(name, data, expected=expected)


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.put(ADA, sample_adapter(1)),
        lambda store: store.put(ACME.user("new"), sample_adapter(1)),
        lambda store: store.activate(ADA, 1),
        lambda store: store.erase(ADA),
        lambda store: store.rotate_tenant_key(ACME),
    ],
)
def test_audit_log_that_cannot_be_written_lets_nothing_be_changed(storages, store, call: Callable[[AdapterStore], Any]):
    store.put(ADA, sample_adapter(0))
    keys = {name: storages[1].read(name).data for name in storages[1].names("acme/")}
    failing = FailingAt(storages[0], "/.audit/")
    with pytest.raises(StoreUnavailable):
        call(store_of((failing, storages[1])))
    assert [stored.digest for stored in store.versions(ADA)] == [sample_adapter(0).digest]
    assert store.users(ACME) == ["ada"]
    assert {name: storages[1].read(name).data for name in keys} == keys
    failing.part = None
    call(store_of((failing, storages[1])))
    assert store.verify_audit(ACME).problems == []


def test_audit_log_has_the_line_of_a_change_that_was_cut_short(storages, store):
    store.put(ADA, sample_adapter(0))
    failing = store_of((FailingAt(storages[0], "ada/pointer"), storages[1]))
    with pytest.raises(StoreUnavailable):
        failing.put(ADA, sample_adapter(1))
    assert [line["version"] for line in events(store)] == [1, 2]
    assert [stored.version for stored in store.versions(ADA)] == [1]


def test_audit_log_withdraws_what_was_announced_and_then_refused(storages, store):
    class Overtaken(Wrapped):
        by: AdapterStore | None = store

        def swap(self, name: str, data: bytes, *, expected: str | None) -> str:
            if self.by is not None and name.endswith("ada/pointer"):
                rival, self.by = self.by, None
                rival.put(ADA, sample_adapter(9))
            return super().swap(name, data, expected=expected)

    store.put(ADA, sample_adapter(0))
    slow = store_of((Overtaken(storages[0]), storages[1]))
    with pytest.raises(PreconditionFailed):
        slow.put(ADA, sample_adapter(1), if_version=1)
    found = events(store)
    assert [line["event"] for line in found] == ["put", "put", "put", "withdrawn"]
    assert found[1]["change"] == found[3]["change"] != found[2]["change"]


def in_one_lane(*stores: AdapterStore) -> None:
    for each in stores:
        tail = each._log._tail(ACME)
        tail.lane, tail.is_known = "3", False


def test_audit_log_of_many_writers_is_whole_and_has_fewer_segments_than_lines(storages):
    stores = [store_of(storages) for _ in range(3)]
    in_one_lane(*stores)
    users = [ACME.user(f"user{number}") for number in range(48)]
    with ThreadPoolExecutor(24) as pool:
        list(pool.map(lambda number: stores[number % 3].put(users[number], sample_adapter(0)), range(48)))
    found = stores[0].verify_audit(ACME)
    assert (found.problems, found.lines) == ([], 48)
    assert 3 <= len(storages[0].names("acme/.audit/")) < 48
    # Who met somebody in a lane has gone to another one.
    assert len({each._log._tail(ACME).lane for each in stores}) == 3


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_audit_log_is_gone_on_with_where_its_lane_ends(storages, count):
    for seed in range(count):
        store = store_of(storages)
        in_one_lane(store)
        store.put(ADA, sample_adapter(seed))
    assert store.verify_audit(ACME).heads["3"][0] == count
    assert store.verify_audit(ACME).problems == []


def test_audit_log_wakes_everybody_who_waits_however_threads_take_turns(monkeypatch):
    """Thousands of appends under a switch interval that lets threads meet at every instruction."""
    store = store_of((MemoryObjects(), MemoryObjects()))
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(16) as pool:
            lines = list(pool.map(lambda _: store._log.append(ACME, "put"), range(3000)))
    finally:
        sys.setswitchinterval(interval)
    assert len({line.hash for line in lines}) == 3000
    assert (store.verify_audit(ACME).lines, store.verify_audit(ACME).problems) == (3000, [])
    assert all(len(list(segment.data.splitlines())) > 1 for segment in segments(store))


def test_audit_log_goes_on_without_one_who_is_interrupted_when_it_is_his_turn():
    class Interrupted(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            super().wait(timeout)
            raise KeyboardInterrupt

    class Held(Wrapped):
        def swap(self, name: str, data: bytes, *, expected: str | None) -> str:
            if "/.audit/" in name and not begun.is_set():
                begun.set()
                assert free.wait(10)
            return super().swap(name, data, expected=expected)

    begun, free = threading.Event(), threading.Event()
    log = store_of((Held(MemoryObjects()), MemoryObjects()))._log
    log._keys.of(ACME)
    with ThreadPoolExecutor(3) as pool:
        writing = pool.submit(log.append, ACME, "put")
        assert begun.wait(10)
        interrupted, other = (log.begin(ACME, "put") for _ in range(2))
        interrupted.turn = Interrupted()
        gone = pool.submit(log.wait, ACME, interrupted)
        waiting = pool.submit(log.wait, ACME, other)
        while not (interrupted.is_waiting and other.is_waiting):
            time.sleep(0.001)
        free.set()
        with pytest.raises(KeyboardInterrupt):
            gone.result(10)
        assert waiting.result(10).content["line"] == 2
        assert writing.result(10).content["line"] == 0
    # He had handed it in, and it may stand there.
    assert interrupted.written.content["line"] == 1


def test_audit_log_goes_on_without_one_who_is_interrupted_before_he_began_to_write(monkeypatch):
    log = store_of((MemoryObjects(), MemoryObjects()))._log
    entry = log.begin(ACME, "put")
    with monkeypatch.context() as patched:
        patched.setattr(log, "_write_for", mock.Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            log.wait(ACME, entry)
    assert log.append(ACME, "put").content["line"] == 0
    with pytest.raises(StoreUnavailable, match="could not be written"):
        log.wait(ACME, entry)


def segments(store: AdapterStore) -> list[StoredObject]:
    objects = store._objects
    return [objects.read(name) for name in objects.names("acme/.audit/")]


def test_audit_log_forgets_or_withdraws_what_failed_before_it_could_be_made(storages, store):
    class Full(Wrapped):
        def write(self, name: str, data: bytes | bytearray) -> None:
            raise StoreUnavailable("no room")

    failing = store_of((Full(storages[0]), storages[1]))
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            failing.put(ADA, sample_adapter(0))
    assert "put" not in {line["event"] for line in events(store)}


def test_audit_key_that_was_lost_is_not_made_anew(storages, store):
    store.put(ADA, sample_adapter(0))
    storages[1].remove("acme/.audit")
    with pytest.raises(StoreCorrupt, match="audit log is missing"):
        store_of(storages).audit_key(ACME)


def test_audit_check_beside_writers_finds_nothing(storages, store):
    with ThreadPoolExecutor(5) as pool:
        writing = [pool.submit(store.put, ACME.user(f"user{number}"), sample_adapter(0)) for number in range(24)]
        while not all(future.done() for future in writing):
            assert store_of(storages).verify_audit(ACME).problems == []
        [future.result() for future in writing]


HOSTILE = [
    b"",
    b"[]",
    b"7",
    b"null",
    b"[" * 100_000,
    b'{"lane":"0","line":1e999}',
    b'{"lane":"0","line":true}',
    b'{"lane":"0","line":-1}',
    b'{"lane":"0","line":' + b"9" * 5000 + b"}",
    b'{"lane":["0"],"line":0}',
    b'{"lane":"../..","line":0}',
    b'{"lane":"0","segment":0,"signature":[]}',
    b'{"line": 0, "lane": "0"}',
    b"\xff\xfe",
]


@pytest.mark.parametrize("line", HOSTILE)
def test_audit_check_survives(line):
    assert check_log([line], public_key="0" * 64).problems


@pytest.fixture
def log() -> tuple[list[bytes], str]:
    """A log of one lane: eight lines in six segments, each with its signature; and the key."""
    store = store_of((MemoryObjects(), MemoryObjects()))
    for seed in range(5):
        store.put(ADA, sample_adapter(seed))
    store.activate(ADA, 1)
    store.erase(ADA)
    return list(store.audit_lines(ACME)), store.audit_key(ACME)


def changed(line: bytes, /, **fields: Any) -> bytes:
    return line_bytes(json.loads(line) | fields)


def rechained(lines: list[bytes]) -> list[bytes]:
    """What somebody makes of a log who wants it to look whole and has not the key."""
    made, prev, number = [], "0" * 64, 0
    for line in lines:
        if b'"signature"' in line:
            made.append(line)
            continue
        made.append(changed(line, prev=prev, line=number))
        prev, number = hash_of(made[-1]), number + 1
    return made


FORGERIES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "a line removed": lambda lines: lines[:4] + lines[5:],
    "a line and its signature removed": lambda lines: lines[:4] + lines[6:],
    "the first line and its signature removed": lambda lines: lines[2:],
    "a line removed and the chain mended": lambda lines: rechained(lines[:4] + lines[6:]),
    "a line changed": lambda lines: [changed(lines[0], version=7), *lines[1:]],
    "a line changed and the chain mended": lambda lines: rechained([changed(lines[0], version=7), *lines[1:]]),
    "the last line changed": lambda lines: [*lines[:-2], changed(lines[-2], objects=0), lines[-1]],
    "two lines in another order": lambda lines: [lines[2], lines[1], lines[0], *lines[3:]],
    "two segments in another order": lambda lines: lines[2:4] + lines[:2] + lines[4:],
    "two in another order and the chain mended": lambda lines: rechained(lines[2:4] + lines[:2] + lines[4:]),
    "a line put in": lambda lines: [*lines[:2], changed(lines[0], line=1), *lines[2:]],
    "a line put in and the chain mended": lambda lines: rechained([*lines[:2], lines[0], *lines[2:]]),
    "a line at the end": lambda lines: [*lines, changed(lines[0], line=8, prev=hash_of(lines[-2]))],
    "a line that is none": lambda lines: [*lines, b"{]"],
    "a signature removed": lambda lines: lines[:-1],
    "a signature of another segment": lambda lines: [*lines[:-1], changed(lines[-3], segment=7)],
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_audit_check_finds(log, forgery):
    lines, key = log
    assert check_log(lines, public_key=key).problems == []
    assert check_log(FORGERIES[forgery](lines), public_key=key).problems != []


def test_audit_check_finds_every_single_byte_that_was_changed(log):
    lines, key = log
    whole = b"\n".join(lines)
    for place in range(len(whole)):
        other = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        assert check_log(other.split(b"\n"), public_key=key).problems, whole[place - 20 : place + 20]


def test_audit_check_finds_a_lane_cut_short_by_the_anchor_of_an_earlier_check(log):
    lines, key = log
    anchor = check_log(lines, public_key=key).heads
    assert check_log(lines, public_key=key, anchor=anchor).problems == []
    for cut in (lines[:-2], []):
        assert check_log(cut, public_key=key).problems == []
        assert len(check_log(cut, public_key=key, anchor=anchor).problems) == 1
    longer = {lane: (count - 1, "0" * 64) for lane, (count, _) in anchor.items()}
    assert len(check_log(lines, public_key=key, anchor=longer).problems) == 1


def test_audit_check_with_the_store_finds_a_change_whose_line_was_cut_off(storages, store):
    for seed in range(3):
        store.put(ADA, sample_adapter(seed))
    storages[0].remove(list(storages[0].names("acme/.audit/"))[-1])
    assert store.verify_audit(ACME).problems == ["1 of the changes that were made are not in it"]


def test_audit_check_with_the_store_finds_an_erasure_whose_line_was_cut_off(storages, store):
    store.put(ADA, sample_adapter(0))
    store.erase(ADA)
    storages[0].remove(list(storages[0].names("acme/.audit/"))[-1])
    assert "1 of the erasures that receipts were given for are not in it" in store.verify_audit(ACME).problems
