"""Short histories of the driver `tests.history`, and that it finds what is planted."""

import pytest

from tests.history import Operation, check, run


@pytest.mark.parametrize("storage", ["memory", "directory"])
def test_store_is_linearizable_while_its_storage_fails(storage):
    found = run(operations=1500, workers=8, users=6, storage=storage, share=0.05)
    assert found["violations"] == 0, found
    assert found["operations"] == 1500
    assert len(found["faults"]) >= 6
    assert found["outcomes"]["put ok"] > 100
    assert found["outcomes"]["put unknown"] > 5


def test_store_over_a_storage_with_a_race_is_found_out():
    # The twin of the test above.
    assert run(operations=1500, workers=8, users=2, defect=True)["violations"] > 0


def operation(kind, began, ended, *, digest=None, version=None, outcome="ok"):
    return Operation(user="ada", kind=kind, digest=digest, version=version, outcome=outcome, began=began, ended=ended)


ONE = operation("put", 0, 1, digest="a", version=1)
TWO = operation("put", 2, 3, digest="b", version=2)


@pytest.mark.parametrize(
    ("operations", "final"),
    [
        ([ONE, TWO], ["a"]),  # lost
        ([ONE, TWO], ["b", "a"]),  # in another order
        ([ONE, TWO], ["a", "b", "a"]),  # made twice
        ([ONE, operation("put", 2, 3, digest="b", outcome="refused")], ["a", "b"]),
        ([ONE, TWO, operation("get", 4, 5, digest="a", version=1)], ["a", "b"]),  # stale
        ([ONE, operation("get", 2, 3, version=0)], ["a"]),  # nothing there, after something was
        ([ONE, TWO, operation("get", 0, 1.5, digest="b", version=2)], ["a", "b"]),  # before it was asked for
        ([ONE, operation("get", 2, 3, digest="c", version=1)], ["a"]),  # never there
        (
            [
                ONE,
                operation("put", 2, 9, digest="b", version=2),
                operation("get", 3, 4, digest="b", version=2),
                operation("get", 5, 6, digest="a", version=1),  # back again
            ],
            ["a", "b"],
        ),
    ],
)
def test_check_finds_what_is_not_linearizable(operations, final):
    assert check(operations, {"ada": final})


@pytest.mark.parametrize("made", [True, False])
def test_check_lets_a_write_of_unknown_outcome_be_made_or_not(made):
    unknown = operation("put", 2, 3, digest="b", outcome="unknown")
    read = operation("get", 4, 5, digest="b" if made else "a", version=2 if made else 1)
    assert check([ONE, unknown, read], {"ada": ["a", "b"] if made else ["a"]}) == []
