"""Turns, and what an erasure does to them."""

import threading
import time

import pytest

from hypernet.engines import CompletionStream
from hypernet.errors import AdapterNotFound, StoreUnavailable
from hypernet.storage import AdapterStore, TenantScope
from serving.residents import Residents
from tests.samples import sample_adapter

ADA, BOB = (TenantScope("acme").user(user) for user in ("ada", "bob"))


class Held:
    """What an engine holds, as far as `Residents` asks."""

    def __init__(self) -> None:
        self.digests: list[str] = []

    def resident(self) -> tuple[str, ...]:
        return tuple(self.digests)

    def drop(self, digest: str) -> None:
        if digest in self.digests:
            self.digests.remove(digest)


@pytest.fixture
def held() -> Held:
    return Held()


@pytest.fixture
def store() -> AdapterStore:
    return AdapterStore.in_memory()


@pytest.fixture
def residents(held, store):
    made = Residents(engine=held, store=store, period_s=0.01)
    yield made
    made.close()
    made.close()


def stream() -> CompletionStream:
    return CompletionStream(prompt_tokens=1, adapter=None, on_cancel=lambda: None)


def test_drain_waits_for_the_turns_of_that_user_alone(residents):
    turn, other = residents.begin(ADA), residents.begin(BOB)
    turn.answer(stream())
    threading.Timer(0.2, turn.end).start()
    start = time.monotonic()
    residents.drain(ADA, wait_s=10)
    assert 0.15 < time.monotonic() - start < 5
    other.end()
    other.end()


def test_drain_cuts_an_answer_after_its_time(residents):
    turn, answer = residents.begin(ADA), stream()
    turn.answer(answer)
    residents.drain(ADA, wait_s=0.05)
    with pytest.raises(AdapterNotFound):
        next(answer)


def test_drain_cuts_a_turn_that_has_no_answer_yet(residents):
    turn, answer = residents.begin(ADA), stream()
    residents.drain(ADA, wait_s=0)
    with pytest.raises(AdapterNotFound):
        turn.answer(answer)
    assert answer.ended


def test_drain_leaves_turns_that_begin_later_alone(residents):
    old = residents.begin(ADA)
    new = []
    threading.Timer(0.05, lambda: (new.append(residents.begin(ADA)), old.end())).start()
    residents.drain(ADA, wait_s=10)
    answer = stream()
    new[0].answer(answer)
    assert not answer.ended


def test_residents_find_out_by_themselves_what_is_stored_no_more(residents, held, store):
    adapters = [sample_adapter(seed) for seed in range(2)]
    for key, adapter in zip((ADA, BOB), adapters, strict=True):
        store.put(key, adapter)
        held.digests.append(adapter.digest)
        residents.brought_in(key, adapter.digest)
    store.put(ADA, sample_adapter(5))  # the version before stays, and may be asked for
    store.erase(BOB)
    deadline = time.monotonic() + 10
    while len(held.digests) > 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert held.digests == [adapters[0].digest]


def test_residents_stay_where_the_store_cannot_be_asked(held, monkeypatch, store):
    def unavailable(key: object) -> list[object]:
        raise StoreUnavailable("down")

    monkeypatch.setattr(store, "versions", unavailable)
    residents = Residents(engine=held, store=store)
    held.digests.append("d")
    residents.brought_in(ADA, "d")
    assert residents.look_through() == 0
    assert held.digests == ["d"]
    residents.close()
