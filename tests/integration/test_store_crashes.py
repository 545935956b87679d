"""Short runs of the driver `tests.crash`: what is left by processes that are killed, and what it finds planted."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.s3_server import running_server

# The process that forks must have no other threads, so it is none of pytest's; one of them makes many runs.
PROGRAM = """
import json, sys
from tests.crash import run
print(json.dumps([run(**options) for options in json.loads(sys.argv[1])]))
"""
PUTS = ("put-first", "put-second", "put-same", "put-with-retention")
MOST = (*PUTS, "activate", "erase", "sweep", "rotate", "rotate-root")
ALL = (*MOST, "put-known", "put-after-erase", "erase-again")
EITHER = {"put-same", "erase-again", "sweep", "rotate", "rotate-root"}
"""Where the state before is the state after."""


def found_by(*runs: dict[str, Any], **environment: str) -> list[dict[str, Any]]:
    options = [{"storage": "directory", "grain": "calls", "rounds": 1} | each for each in runs]
    command = [sys.executable, "-c", PROGRAM, json.dumps(options)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=500, env=environment).stdout
    return json.loads(output)


def check_nothing_was_lost(found: dict[str, Any], *, scenarios: tuple[str, ...]) -> None:
    """Nothing broken; somebody died at every moment, the last of them answered already; both states were seen."""
    assert found["violations"] == 0, found["first"]
    assert found["deaths"] == found["rounds"] == sum(found["points"].values())
    assert found["acknowledged"] == len(scenarios)
    expected = {f"{name}: {state}" for name in scenarios if name not in EITHER for state in ("before", "after")}
    expected |= {f"{name}: {state}" for name in EITHER.intersection(scenarios) for state in ("either", "after")}
    assert set(found["states"]) == expected


@pytest.mark.parametrize(("grain", "scenarios", "points"), [("calls", ALL, 100), ("syscalls", MOST, 400)])
def test_directory_store_killed_at_any_step_is_as_before_the_call_or_as_after_it(grain, scenarios, points):
    (found,) = found_by({"scenarios": scenarios, "grain": grain})
    check_nothing_was_lost(found, scenarios=scenarios)
    assert found["points_of_write_activate_erase"] > points
    assert found["swept"] > 10


def test_directory_store_keeps_all_puts_of_live_writers_beside_dying_and_sweeping_ones():
    beside, together = found_by({"scenarios": ["put-second", "erase"], "rounds": 4}, {"scenarios": ["writers"]})
    assert (beside["violations"], together["violations"]) == (0, 0), beside["first"] + together["first"]
    assert beside["beside"] == sum(beside["points"].values())
    assert beside["live_puts"] >= beside["beside"]
    assert together["puts_together"] == 40


def test_s3_store_killed_at_any_step_is_as_before_the_call_or_as_after_it(tmp_path):
    scenarios = ("put-second", "activate", "erase")
    with running_server(tmp_path) as server:
        secret = server.secret_key.get_secret_value()
        url = f"http{'s' * server.secure}://{server.access_key}:{secret}@{server.endpoint}/{server.bucket}"
        (found,) = found_by({"scenarios": scenarios, "storage": "s3"}, HYPERNET_TEST_S3_URL=url)
    check_nothing_was_lost(found, scenarios=scenarios)
    assert found["points_of_write_activate_erase"] > 80


DEFECTS = {
    "pointer-first": ("put-second", "store_corrupt: A stored adapter's object is missing"),
    "acknowledge-early": ("put-second", "acknowledged, and {1: first} with 1 active; expected {1: first, 2: second}"),
    "in-place": ("put-second", "store_corrupt: A stored object"),
    "no-lock": ("writers", "writers"),
    "sweep-unfenced": ("writers", "store_corrupt: A stored adapter's object is missing"),
}
"""Where each is looked for, and what is found."""


@pytest.fixture(scope="module")
def found_with_defects() -> dict[str, dict[str, Any]]:
    # Where nobody dies, it is a matter of luck who meets whom, and a second and a third round leave little to it.
    runs = (
        {"defect": name, "scenarios": [scenario], "rounds": 3 if scenario == "writers" else 1}
        | ({"grain": "syscalls"} if name == "in-place" else {})
        for name, (scenario, _) in DEFECTS.items()
    )
    return {found["defect"]: found for found in found_by(*runs)}


@pytest.mark.parametrize("defect", DEFECTS)
def test_store_with_a_defect_is_found_out(found_with_defects, defect):
    # The twins of the tests above.
    found = found_with_defects[defect]
    assert found["violations"] > 0
    assert any(DEFECTS[defect][1] in problem for problem in found["first"]), found["first"]
