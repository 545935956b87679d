"""The drawing of names, at a size for every day; `python -m tests.names` draws a million."""

import pytest

from tests.names import DEFECTS, run

FOUND_AS = {
    "capitals": "collisions",
    "cut": "collisions",
    "joined-by-a-dash": "collisions",
    "hash-behind-a-plain-sign": "collisions",
    "as-it-is": "collisions",
    "without-a-closing-slash": "escapes",
    "unchecked": "escapes",
    "says-the-name": "repeated",
}


def test_names_that_look_alike_never_share_a_path_nor_leave_their_place():
    found = run(20_000)

    assert found["names"] >= 20_000
    assert min(found["tenants"], found["users"], found["refused"]) > 1000
    assert (found["collisions"], found["escapes"], found["repeated"]) == (0, 0, 0)


@pytest.mark.parametrize("defect", [name for name in DEFECTS if name != "none"])
def test_names_rendered_with_a_defect_are_found(defect):
    # The twins.
    assert run(2_000, defect=defect)[FOUND_AS[defect]] > 0
