"""Short histories of the driver `tests.history`, what it finds that is planted, and its check on ones made by hand."""

from collections.abc import Iterator

import pytest

from hypernet.storage.s3 import Server
from tests.history import DEFECTS, MAINTENANCE, MIX, Plan, run
from tests.history_check import NOTHING, OK, UNREADABLE, Operation, Request, Step, View, check
from tests.s3_server import running_server


@pytest.fixture(scope="module")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


def check_store(plan: Plan, *, server: Server | None = None) -> None:
    report, problems = run(plan, server=server)
    assert problems == [], report
    assert report["operations"] == sum(report["outcomes"].values()) == plan.operations
    # So that what was to happen did happen.
    assert all(report["outcomes"][f"{kind} ok"] > plan.operations / 100 for kind in MIX), report
    assert all(report["maintenance"][f"{kind} ok"] > 0 for kind in MAINTENANCE), report
    assert report["outcomes"]["put precondition_failed"] > 5, report
    assert report["outcomes"]["put store_unavailable"] > 5, report
    assert len(report["faults"]) > 20, report
    assert report["refused"] > 5, report
    assert report["transitions"] > plan.operations / 5, report


@pytest.mark.parametrize(("storage", "operations", "users"), [("memory", 1500, 20), ("directory", 800, 50)])
def test_store_is_linearizable_while_its_storage_fails(storage, operations, users):
    check_store(Plan(operations=operations, workers=8, users=users, storage=storage, share=0.03))


def test_store_on_a_server_is_linearizable_while_its_answers_fail(s3_server):
    check_store(Plan(operations=400, workers=6, users=12, storage="s3", share=0.05), server=s3_server)


FOUND_BY = {
    "race": "it ought to have been",
    "lost": "'ok', 'answer': ((",
    "stale": "no state in its time explains that",
    "torn": "'outcome': 'store_corrupt'",
    "twice": "was made 2 times",
    "no-fence": "'outcome': 'store_corrupt'",
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_store_with_a_planted_defect_is_found_out(defect):
    # The twins of the tests above.
    report, problems = run(Plan(operations=500, workers=6, users=3, defect=defect))
    assert report["violations"] == len(problems) > 0
    assert any(FOUND_BY[defect] in problem for problem in problems), problems


A1 = View(versions=((1, "a"),), active=1)
B2 = View(versions=((1, "a"), (2, "b")), active=2)
B1 = View(versions=((1, "a"), (2, "b")), active=1)
GONE = View(owes="end")


def step(number, view, began, ended):
    return Step(by=number, view=view, began=began, ended=ended)


def operation(number, kind, began, ended, *, outcome=OK, answer=(), actual=None, receipt=None, whole=True, **asked):
    return Operation(
        number=number,
        request=Request(kind=kind, user="ada", **asked),
        outcome=outcome,
        answer=answer,
        actual=actual,
        receipt=receipt,
        whole=whole,
        began=began,
        ended=ended,
    )


def put(number, began, ended, view, **changes):
    told = {} if changes.get("outcome", OK) != OK else {"answer": view.told(None)}
    return operation(number, "put", began, ended, **({"digest": view.digest} | told | changes))


def head(began, ended, view, **changes):
    return operation(9, "head", began, ended, **({"answer": view.told(None)} | changes))


def problems_of(operations, steps, *, final=None, **options):
    return check(operations, {"ada": steps}, {"ada": final or (steps[-1].view if steps else NOTHING)}, **options)


ONE, TWO = put(1, 0, 3, A1), put(2, 10, 13, B2)
MADE = [step(1, A1, 1, 2), step(2, B2, 11, 12)]
BACK = step(3, B1, 21, 22)
ENDED = step(3, GONE, 21, 22)


@pytest.mark.parametrize(
    ("operations", "steps"),
    [
        ([ONE, TWO], MADE),
        ([ONE, TWO, head(0, 1, A1), head(3, 12, A1), head(11, 30, A1), head(11, 12, B2), head(12, 13, B2)], MADE),
        ([ONE, TWO, head(0, 2, NOTHING, outcome="adapter_not_found")], MADE),
        ([ONE, TWO, operation(3, "get", 14, 15, version=1, answer=B2.told(1))], MADE),
        ([ONE, TWO, operation(3, "get", 14, 15, version=3, outcome="version_not_found")], MADE),
        ([ONE, TWO, operation(3, "versions", 14, 15, answer=B2.seen)], MADE),
        ([ONE, put(2, 10, 13, B2, if_version=1, if_digest="a")], MADE),
        ([ONE, TWO, put(3, 4, 5, A1)], MADE),  # active already
        ([ONE, TWO, put(3, 14, 15, A1, if_version=1, outcome="precondition_failed", actual=2)], MADE),
        ([ONE, TWO, put(3, 14, 15, A1, outcome="store_unavailable")], MADE),  # not made
        ([ONE, put(2, 10, 13, B2, outcome="store_unavailable")], MADE),  # made
        ([ONE, TWO, operation(3, "activate", 20, 23, version=1, answer=B1.told(1))], [*MADE, BACK]),
        ([ONE, TWO, operation(3, "activate", 14, 15, version=2, answer=B2.told(2))], MADE),  # active already
        ([ONE, TWO, operation(3, "activate", 14, 15, version=3, outcome="version_not_found")], MADE),
        ([ONE, TWO, operation(3, "erase", 20, 23, if_version=2, receipt="end")], [*MADE, ENDED]),
        ([operation(3, "erase", 20, 23, outcome="adapter_not_found")], []),
        (
            [
                ONE,
                TWO,
                operation(3, "erase", 20, 23, outcome="store_unavailable"),
                operation(4, "erase", 30, 33, receipt="end"),  # of the erasure that it has ended
            ],
            [*MADE, ENDED],
        ),
        ([ONE, TWO], [step(1, NOTHING, 0, 1), *MADE, step(-7, B2, 21, 22)]),  # reserved at first, fenced at last
    ],
)
def test_check_lets_pass_what_is_linearizable(operations, steps):
    assert problems_of(operations, steps) == []


@pytest.mark.parametrize(
    ("operations", "steps"),
    [
        ([ONE, TWO], MADE[:1]),  # lost
        ([ONE, TWO], [MADE[0], step(2, View(versions=((1, "b"),), active=1), 11, 12)]),  # what was there is lost
        ([ONE, TWO], [*MADE, step(2, View(versions=(*B2.versions, (3, "b")), active=3), 12, 13)]),  # made twice
        ([ONE, TWO], [MADE[0], step(2, View(versions=((1, "a"), (2, "c")), active=2), 11, 12)]),  # something else
        ([ONE, TWO], [MADE[0], step(2, View(versions=((1, "a"), (3, "b")), active=3), 11, 12)]),  # another number
        ([ONE, put(2, 10, 13, B2, answer=((3, "b", True),))], MADE),  # told another number
        ([ONE, TWO], [MADE[0], step(2, B2, 14, 15)]),  # after its end
        ([ONE, TWO], [MADE[0], step(2, B2, 5, 6)]),  # before its begin
        ([ONE, TWO], [*MADE, step(-7, B1, 21, 22)]),  # nobody asked for that
        ([ONE, TWO], [*MADE, step(None, NOTHING, 21, 22)]),
        ([ONE, TWO, head(20, 23, B2)], [*MADE, step(9, B1, 21, 22)]),  # a reader changed something
        ([ONE, TWO], [*MADE, step(-7, UNREADABLE, 21, 22)]),
        ([ONE, put(2, 10, 13, B2, outcome="precondition_failed", if_version=4, actual=1)], MADE),  # refused and made
        ([ONE, put(2, 10, 13, B2, outcome="store_unavailable", if_version=4)], MADE),  # made though not as asked
        ([ONE, put(2, 10, 13, B2, if_version=4)], MADE),
        ([ONE, put(2, 10, 13, B2, if_digest="b")], MADE),
        ([ONE, TWO, put(3, 14, 15, A1, if_version=2, outcome="precondition_failed", actual=2)], MADE),  # it did hold
        ([ONE, TWO, put(3, 14, 15, A1, if_version=1, outcome="precondition_failed", actual=7)], MADE),  # never active
        ([ONE, TWO, put(3, 14, 15, A1)], MADE),  # was active, and is no more
        ([ONE, TWO, head(14, 15, A1)], MADE),  # stale
        ([ONE, TWO, head(3, 5, B2)], MADE),  # before it was made
        ([ONE, TWO, head(14, 15, View(versions=((1, "c"),), active=1))], MADE),  # never there
        ([ONE, TWO, head(14, 15, NOTHING)], MADE),
        ([ONE, TWO, head(14, 15, NOTHING, outcome="adapter_not_found")], MADE),
        ([ONE, TWO, head(14, 15, B2, whole=False)], MADE),  # torn
        ([ONE, TWO, head(14, 15, NOTHING, outcome="store_corrupt")], MADE),
        ([ONE, TWO, operation(3, "get", 14, 15, version=1, answer=A1.told(1))], MADE),  # active no more
        ([ONE, TWO, operation(3, "get", 14, 15, version=2, outcome="version_not_found")], MADE),
        ([ONE, TWO, operation(3, "versions", 14, 15, answer=B2.seen[:1])], MADE),
        ([ONE, TWO, operation(3, "activate", 14, 15, version=1, answer=B1.told(1))], MADE),  # not made
        ([ONE, TWO, operation(3, "activate", 14, 15, version=2, outcome="version_not_found")], MADE),
        ([ONE, TWO, operation(3, "activate", 20, 23, version=2, answer=B1.told(1))], [*MADE, BACK]),
        ([ONE, TWO, operation(3, "erase", 14, 15, receipt="end")], MADE),  # not made
        ([ONE, TWO, operation(3, "erase", 20, 23, receipt="other")], [*MADE, ENDED]),  # a receipt of another one
        ([ONE, TWO, operation(3, "erase", 20, 23, if_version=1, receipt="end")], [*MADE, ENDED]),
        ([ONE, TWO, operation(3, "erase", 20, 23, outcome="adapter_not_found")], [*MADE, ENDED]),
        # Both fit a state that may have lasted, but not the same moment of the change.
        ([ONE, TWO, head(10.1, 11.2, B2), head(11.7, 11.9, A1)], MADE),
    ],
)
def test_check_finds_what_is_not_linearizable(operations, steps):
    assert problems_of(operations, steps)


def test_check_finds_what_is_read_otherwise_in_the_end():
    assert check([ONE, TWO], {"ada": MADE}, {"ada": B2}) == []
    for final in (A1, B1, NOTHING, None):
        assert check([ONE, TWO], {"ada": MADE}, {"ada": final})


def test_check_expects_of_a_put_that_it_leaves_the_newest_versions_only():
    pruned = [MADE[0], step(2, View(versions=((2, "b"),), active=2), 11, 12)]
    assert problems_of([ONE, TWO], pruned, keep=1) == []
    assert problems_of([ONE, TWO], pruned, keep=2)
    assert problems_of([ONE, TWO], MADE, keep=1)
