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
MOST = (*PUTS, "activate", "erase", "sweep")
ALL = (*MOST, "put-known", "put-after-erase", "erase-again", "rotate", "rotate-root")
EITHER = {"put-same", "erase-again", "sweep", "rotate", "rotate-root"}
"""Where the state before is the state after."""


RUNS: dict[str, dict[str, Any]] = {
    "calls": {"scenarios": ALL},
    "syscalls": {"scenarios": MOST, "grain": "syscalls"},
    "beside": {"scenarios": ["put-second", "erase"], "rounds": 2},
    "writers": {"scenarios": ["writers"]},
    # The twins, each with a planted defect.
    "pointer-first": {"scenarios": ["put-second"]},
    "acknowledge-early": {"scenarios": ["put-second"]},
    "in-place": {"scenarios": ["put-second"], "grain": "syscalls"},
    # Where nobody dies, it is a matter of luck who meets whom; further rounds leave little to it.
    "no-lock": {"scenarios": ["writers"], "rounds": 3},
    "sweep-unfenced": {"scenarios": ["writers"], "rounds": 3},
}
FOUND = {
    "pointer-first": "store_corrupt: A stored adapter's object is missing",
    "acknowledge-early": "acknowledged, and {1: first} with 1 active; expected {1: first, 2: second}",
    "in-place": "store_corrupt: A stored object",
    "no-lock": "writers",
    "sweep-unfenced": "store_corrupt: A stored adapter's object is missing",
}


def found_by(runs: dict[str, dict[str, Any]], **environment: str) -> dict[str, dict[str, Any]]:
    usual = {"storage": "directory", "grain": "calls", "rounds": 1}
    options = [usual | ({"defect": name} if name in FOUND else {}) | run for name, run in runs.items()]
    command = [sys.executable, "-c", PROGRAM, json.dumps(options)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=500, env=environment).stdout
    return dict(zip(runs, json.loads(output), strict=True))


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, Any]]:
    return found_by(RUNS)


def check_nothing_was_lost(found: dict[str, Any], *, scenarios: tuple[str, ...]) -> None:
    """Nothing broken; somebody died at every moment, the last of them answered already; both states were seen."""
    assert found["violations"] == 0, found["first"]
    assert found["deaths"] == found["rounds"] == sum(found["points"].values())
    assert found["acknowledged"] == len(scenarios)
    expected = {f"{name}: {state}" for name in scenarios if name not in EITHER for state in ("before", "after")}
    expected |= {f"{name}: {state}" for name in EITHER.intersection(scenarios) for state in ("either", "after")}
    assert set(found["states"]) == expected


@pytest.mark.parametrize(("grain", "points"), [("calls", 100), ("syscalls", 400)])
def test_directory_store_killed_at_any_step_is_as_before_the_call_or_as_after_it(found, grain, points):
    check_nothing_was_lost(found[grain], scenarios=RUNS[grain]["scenarios"])
    assert found[grain]["points_of_write_activate_erase"] > points
    assert found[grain]["swept"] > 10


def test_directory_store_loses_no_put_of_a_live_writer_beside_a_dying_process(found):
    beside = found["beside"]
    assert beside["violations"] == 0, beside["first"]
    assert beside["beside"] == sum(beside["points"].values())
    assert beside["live_puts"] >= beside["beside"]


def test_directory_store_loses_no_put_of_many_processes_beside_a_sweep(found):
    assert found["writers"]["violations"] == 0, found["writers"]["first"]
    assert found["writers"]["puts_together"] == 40


def test_s3_store_killed_at_any_step_is_as_before_the_call_or_as_after_it(tmp_path):
    scenarios = ("put-second", "activate", "erase")
    with running_server(tmp_path) as server:
        secret = server.secret_key.get_secret_value()
        url = f"http{'s' * server.secure}://{server.access_key}:{secret}@{server.endpoint}/{server.bucket}"
        found = found_by({"s3": {"scenarios": scenarios, "storage": "s3"}}, HYPERNET_TEST_S3_URL=url)["s3"]
    check_nothing_was_lost(found, scenarios=scenarios)
    assert found["points_of_write_activate_erase"] > 60


@pytest.mark.parametrize("defect", FOUND)
def test_store_with_a_defect_is_found_out(found, defect):
    # The twins of the tests above.
    assert found[defect]["violations"] > 0
    assert any(FOUND[defect] in problem for problem in found[defect]["first"]), found[defect]["first"]
