"""Kills a process with SIGKILL at every step of the store's calls, and looks at what it leaves.

    python -m tests.crash [--storage directory|s3] [--grain calls|syscalls] [--rounds 50] [--scenarios NAME...]
                          [--defect NAME] [--jobs 2]

A kill point is a moment before the first call of the storage, between two calls, or behind the last one, and on S3
half-way through the body of a request and between the arrival of the answer to a change and its being read; with
`--grain syscalls`, one between two system calls on files, and half-way through a write. The last one is behind the
answer to the caller. At each of them a process dies alone in three rounds, which differ in who comes by first after it,
and in all others beside a live one that puts, reads and sweeps for the same user, with other pauses in every round.

After each death a new process's reader must see the state before the call or the one after it, whole, and the one after
it if the dead process had its answer; the live one's puts must all be there; another writer must get through, and a
sweep remove what nobody refers to, and nothing else. Prints one JSON line; exits 1 where anything was broken. With
`--defect` the dying process has a planted defect: then something must be.

`writers` is the scenario in which nobody dies: four processes put ten adapters each for one user, and a fifth sweeps.

Directories lie in /dev/shm where there is one; an S3 server is started unless `HYPERNET_TEST_S3_URL` names one.
"""

import argparse
import gc
import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from hypernet.errors import HypernetError
from tests.crash_deaths import Child, Tell
from tests.crash_defects import DEFECTS, NONE
from tests.crash_lives import Companion, together
from tests.crash_places import Places, places
from tests.crash_rounds import FIRST_COMERS, Death, Found, Round
from tests.crash_scenarios import SCENARIOS, Broken

TOGETHER = "writers"
_COMMITTING = ("put", "activate", "delete", "erase")
_ALONE = (0, 2, 4)
"""The rounds in which nobody lives beside who dies; as many as there are `FIRST_COMERS`."""
_PAUSES = 2
_COUNTS = (
    *("rounds", "beside", "deaths", "acknowledged", "swept"),
    *("live_puts", "unknown_puts", "puts_together", "swept_together"),
)


@dataclass(frozen=True, kw_only=True)
class Task:
    """One round."""

    scenario: str
    moment: int | None
    """None: nobody dies."""
    number: int
    """Which of the rounds at this moment."""

    @property
    def is_beside(self) -> bool:
        """Whether another process lives beside the dying one."""
        return self.number not in _ALONE

    @property
    def words(self) -> str:
        """Which it is."""
        return f"{self.scenario}, moment {self.moment}, round {self.number}"


class Driver:
    """Runs rounds in places of one kind."""

    def __init__(self, where: Places, *, grain: str, defect: str) -> None:
        self._places = where
        self._grain = grain
        self._defect = DEFECTS[defect]
        self._prepared = {name: scenario.prepared() for name, scenario in SCENARIOS.items()}

    def run(self, task: Task) -> Found:
        """One round. Raises: `Broken`."""
        scenario, (before, contents) = SCENARIOS[task.scenario], self._prepared[task.scenario]
        draw = random.Random(f"{task.scenario} {task.moment} {task.number}")
        pace_s = self._places.pace_s
        with self._places.place(contents) as place:
            companion, death = None, Death(moment=task.moment, grain=self._grain)
            if task.is_beside:
                waits_s = {draw.randrange((task.moment or 0) + 1): draw.uniform(0, 4 * pace_s) for _ in range(_PAUSES)}
                death = replace(death, waits_s=waits_s, seed=task.number)
                companion = Companion(place, scenario, seed=draw.getrandbits(32), pace_s=pace_s)
            turn = task.number if task.is_beside else _ALONE.index(task.number)
            first = FIRST_COMERS[(turn + (task.moment or 0)) % len(FIRST_COMERS)]
            made = Round(place, scenario, before=before, keys=contents[1])
            try:
                return made.run(self._defect, death, companion=companion, first=first)
            finally:
                made.close()

    def together(self) -> tuple[int, int]:
        """The scenario in which nobody dies. Raises: `Broken`."""
        with self._places.place(({}, {})) as place:
            return together(place, SCENARIOS["put-first"], self._defect, pace_s=self._places.pace_s)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What rounds came to."""

    counts: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    """How often a scenario left which state."""
    problems: list[str] = field(default_factory=list)

    def add(self, task: Task, found: Found) -> None:
        """Counts a round in which somebody was to die."""
        self.counts["deaths"] += found.dead.died
        self.counts["acknowledged"] += found.dead.died and found.dead.acknowledged
        self.counts["swept"] += found.swept
        self.counts["live_puts"] += found.live_puts
        self.counts["unknown_puts"] += found.unknown_puts
        self.states[f"{task.scenario}: {found.state}"] += 1

    def add_together(self, puts: int, swept: int) -> None:
        """Counts a round in which nobody died."""
        self.counts.update(puts_together=puts, swept_together=swept)

    @contextmanager
    def noting(self, what: str) -> Iterator[None]:
        """Keeps what is found broken within the context."""
        try:
            yield
        except (Broken, HypernetError) as error:
            self.problems.append(f"{what}: {error}")
            sys.stderr.write(f"{self.problems[-1]}\n")

    def merge(self, told: bytes) -> None:
        """Adds another report, as JSON."""
        other = json.loads(told)
        self.counts.update(other["counts"])
        self.states.update(other["states"])
        self.problems.extend(other["problems"])


def run(
    *, storage: str, grain: str, rounds: int, scenarios: Sequence[str], defect: str = NONE, jobs: int = 2
) -> dict[str, Any]:
    """Kill at every kill point of these scenarios, and say what came of it."""
    if threading.active_count() > 1:
        raise RuntimeError("a process that forks must have no other threads")
    start = time.monotonic()
    report = Report()
    points: dict[str, int] = {}
    with places(storage) as where:
        driver = Driver(where, grain=grain, defect=defect)
        for scenario in scenarios:
            if scenario == TOGETHER:
                continue
            # Nobody dies in this one: it is how many moments there are.
            whole = Task(scenario=scenario, moment=None, number=0)
            points[scenario] = 0
            with report.noting(whole.words):
                points[scenario] = driver.run(whole).dead.moments
        tasks = [
            Task(scenario=scenario, moment=moment, number=number)
            for number in range(rounds)
            for scenario, count in points.items()
            for moment in range(count)
        ]
        if TOGETHER in scenarios:
            tasks += [Task(scenario=TOGETHER, moment=None, number=number) for number in range(rounds)]
        # What is here now need not be looked through by the collector of every child, which would make it copy it.
        gc.collect()
        gc.freeze()
        workers = [Child(partial(_work, driver, tasks[job::jobs]), longest_s=None) for job in range(jobs)]
        for status, told in [worker.wait() for worker in workers]:
            if status != 0:
                raise RuntimeError(f"a worker ended with status {status}")
            report.merge(told)
    committing = sum(count for scenario, count in points.items() if scenario.startswith(_COMMITTING))
    return {
        "storage": storage,
        "grain": grain,
        "defect": defect,
        "points": points,
        "points_of_write_activate_erase": committing,
        "rounds_per_point": rounds,
        **{name: report.counts[name] for name in _COUNTS},
        "states": dict(sorted(report.states.items())),
        "seconds": round(time.monotonic() - start, 1),
        "violations": len(report.problems),
        "first": report.problems[:3],
    }


def _work(driver: Driver, tasks: Sequence[Task], tell: Tell) -> None:
    report = Report()
    for task in tasks:
        with report.noting(task.words):
            if task.scenario == TOGETHER:
                report.add_together(*driver.together())
                continue
            report.counts.update(rounds=1, beside=int(task.is_beside))
            report.add(task, driver.run(task))
    tell(json.dumps(vars(report)).encode())


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", choices=["directory", "s3"], default="directory")
    parser.add_argument("--grain", choices=["calls", "syscalls"], help="calls, unless a defect shows only in the other")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--scenarios", nargs="+", choices=[*SCENARIOS, TOGETHER], help="all; with a defect, its own")
    parser.add_argument("--defect", choices=DEFECTS, default=NONE)
    parser.add_argument("--jobs", type=int, default=2)
    options = vars(parser.parse_args())
    defect = DEFECTS[options["defect"]]
    options["grain"] = options["grain"] or defect.grain
    options["scenarios"] = options["scenarios"] or defect.scenarios or (*SCENARIOS, TOGETHER)
    if options["storage"] == "s3" and (options["grain"] == "syscalls" or defect.is_of_directory):
        parser.error("that grain, or that defect, is the directory's")
    found = run(**options)
    sys.stdout.write(json.dumps(found) + "\n")
    sys.exit(1 if found["violations"] else 0)


if __name__ == "__main__":
    main()
