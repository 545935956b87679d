import pytest

from hypernet.engines.residency import Residency
from hypernet.errors import EngineBusy, NotResident
from tests.samples import sample_adapter

A, B, C = (sample_adapter(seed) for seed in range(3))


def residency(*, slots: int = 2, max_resident: int = 2) -> Residency:
    return Residency(slots=slots, max_resident=max_resident)


def test_residency_evicts_the_least_recently_used() -> None:
    r = residency()
    r.put(A)
    r.put(B)
    r.put(A)
    r.put(C)
    assert r.resident() == (A.digest, C.digest)


def test_residency_never_evicts_what_is_pinned() -> None:
    r = residency()
    r.put(A)
    r.put(B)
    r.pin(A.digest)
    r.put(C)
    assert r.resident() == (A.digest, C.digest)
    r.pin(C.digest)
    with pytest.raises(EngineBusy):
        r.put(B)
    r.unpin(C.digest)
    r.put(B)
    assert r.resident() == (A.digest, B.digest)


def test_residency_refuses_to_pin_what_is_not_there() -> None:
    with pytest.raises(NotResident):
        residency().pin(A.digest)


def test_residency_keeps_a_dropped_adapter_until_nobody_needs_it() -> None:
    r = residency()
    r.put(A)
    r.pin(A.digest)
    entered = r.enter(A.digest)
    assert r.drop(A.digest) == []
    assert r.resident() == ()
    with pytest.raises(NotResident):
        r.pin(A.digest)
    r.leave(A.digest)
    assert entered is not None
    assert r.unpin(A.digest) == [entered[0]]
    assert r.drop(A.digest) == []


def test_residency_put_again_undoes_a_drop() -> None:
    r = residency()
    r.put(A)
    r.pin(A.digest)
    r.drop(A.digest)
    r.put(A)
    r.unpin(A.digest)
    assert r.resident() == (A.digest,)


def test_residency_names_the_slot_that_an_evicted_adapter_leaves() -> None:
    r = residency()
    r.put(A)
    r.put(B)
    for each in (A, B):
        r.pin(each.digest)
    entered = r.enter(A.digest)
    r.leave(A.digest)
    r.unpin(A.digest)
    assert entered is not None
    assert r.put(C) == [entered[0]]


def test_residency_gives_no_slot_while_all_run_and_the_first_that_is_free_then() -> None:
    r = residency(slots=1)
    for each in (A, B):
        r.put(each)
        r.pin(each.digest)
    assert r.enter(A.digest) == (1, A)
    assert r.enter(A.digest) == (1, None)
    assert r.enter(B.digest) is None
    r.leave(A.digest)
    assert r.enter(B.digest) is None
    r.leave(A.digest)
    assert r.enter(B.digest) == (1, B)
    # A is pinned still: it stays in memory and is written anew when it runs again.
    assert r.resident() == (A.digest, B.digest)
    r.leave(B.digest)
    assert r.enter(A.digest) == (1, A)
    assert r.slots_in_use == 1


def test_residency_forgets_a_slot_that_could_not_be_written() -> None:
    r = residency(slots=1)
    r.put(A)
    r.pin(A.digest)
    r.enter(A.digest)
    r.unwritten(A.digest)
    r.leave(A.digest)
    assert r.enter(A.digest) == (1, A)


def test_residency_drop_of_the_unknown_does_nothing() -> None:
    assert residency().drop("unknown") == []
