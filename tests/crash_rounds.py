"""One round: a process dies in the midst of a call, and what is left is looked at."""

import random
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import product

from hypernet.errors import AdapterNotFound, StoreUnavailable
from hypernet.storage import AdapterStore
from hypernet.storage.pointer import is_live
from tests.crash_deaths import Child, Moments, Stepping, Tell, step_in_requests, step_in_system_calls
from tests.crash_defects import Defect
from tests.crash_lives import Companion, Live
from tests.crash_places import Place
from tests.crash_scenarios import (
    FIRST,
    KEY,
    LATER,
    LIVE,
    POINTER,
    SECOND,
    THIRD,
    Broken,
    Change,
    Contents,
    Scenario,
    State,
    putting,
    seen,
)

FIRST_COMERS = ("sweep", "again", "put")
"""Who comes by first after a death: a sweep (then a writer, and an erasure of everything), another process that makes
the same call (then a writer, and a sweep), or a writer (then a sweep)."""


@dataclass(frozen=True, kw_only=True)
class Death:
    """How a process dies."""

    moment: int | None
    """None: it does not."""
    grain: str
    waits_s: dict[int, float] = field(default_factory=dict)
    """Seconds that it waits at a moment before."""
    seed: int = 0
    """How the dice of the store fall, where it has any."""


@dataclass(frozen=True, kw_only=True)
class Dead:
    """What is known of a process that was to die."""

    died: bool
    began: float
    ended: float
    """When it had its answer, or at the latest when it died."""
    acknowledged: bool
    moments: int
    """How many it has had; 0 where it did not live to tell."""


def dying(place: Place, scenario: Scenario, defect: Defect, death: Death) -> Dead:
    """Makes the call in a child that kills itself at its moment."""

    def work(tell: Tell) -> None:
        random.seed(death.seed)
        defect.plant()
        storages = place.open()
        moments = Moments(last=death.moment, waits_s=death.waits_s)
        if death.grain == "calls":
            storages = Stepping(storages[0], moments), Stepping(storages[1], moments)
            step_in_requests(moments)
        store = scenario.store((defect.wrap(storages[0]), storages[1]))
        if death.grain == "syscalls":
            step_in_system_calls(moments)
        tell(b"%.9f\n" % time.monotonic())
        try:
            scenario.action(store)
        except AdapterNotFound:  # an answer like any other: the state says whether it is true
            pass
        except StoreUnavailable:
            if place.is_remote:
                return  # as if it had died there
            raise
        moments()
        tell(b"%.9f\n" % time.monotonic())
        moments()
        store.close()
        tell(b"%d\n" % moments.count)

    began = time.monotonic()
    status, told = Child(work).wait()
    ended = time.monotonic()
    if status not in (0, signal.SIGKILL):
        raise Broken(f"the process ended with status {status}")
    said = told.decode().split()
    return Dead(
        died=status != 0,
        began=float(said[0]) if said else began,
        ended=float(said[1]) if len(said) > 1 else ended,
        acknowledged=len(said) > 1,
        moments=int(said[2]) if len(said) > 2 else 0,
    )


def explained(scenario: Scenario, before: State, dead: Dead, live: Live | None) -> dict[State, set[str]]:
    """All states that there may be, and whether the call of the dead one was made in them.

    The live one made its calls one after another, and the call of the dead one was made between two of them, or not at
    all unless it was acknowledged.
    """
    states: dict[State, set[str]] = {}

    def add(made: str, changes: list[Change]) -> None:
        state = before
        for change in changes:
            state = change(state)
        states.setdefault(state, set()).add(made)

    # A put that had no answer was made or not.
    for puts in product(*(((put,) if put.is_known else (put, None)) for put in live.puts)) if live else [()]:
        made = [put for put in puts if put is not None]
        changes = [putting(LIVE[put.which], retention=scenario.retention) for put in made]
        if not dead.acknowledged:
            add("before", changes)
        for place in range(len(made) + 1):
            is_behind = all(put.began < dead.ended for put in made[:place])
            is_ahead = all(put.ended > dead.began for put in made[place:])
            if is_behind and is_ahead:
                add("after", [*changes[:place], scenario.change, *changes[place:]])
    return states


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a round came to, where nothing was broken."""

    dead: Dead
    state: str
    """`before` or `after` the call; `either` where the two are the same, or the live one's writes hide it."""
    swept: int
    live_puts: int
    unknown_puts: int
    """Of the live one's, those that had no answer from the server."""


class Round:
    """One death in one place, and everything that is looked at after it."""

    def __init__(self, place: Place, scenario: Scenario, *, before: State, keys: Contents) -> None:
        self._place = place
        self._scenario = scenario
        self._before = before
        self._keys = keys
        self._storages = place.open()
        self._seed = 0

    def run(self, defect: Defect, death: Death, *, companion: Companion | None, first: str) -> Found:
        """Raises: `Broken`, with what is wrong in words."""
        self._seed = death.seed
        try:
            dead = dying(self._place, self._scenario, defect, death)
        finally:
            live = companion.end() if companion else None
        if live and live.problem:
            raise Broken(live.problem)
        state = seen(self._fresh())
        states = explained(self._scenario, self._before, dead, live)
        if state not in states:
            word = "acknowledged" if dead.acknowledged else "not acknowledged"
            raise Broken(f"{word}, and {_words(state)}; expected {' or '.join(map(_words, states))}"[:400])
        self._check_log()
        if dead.acknowledged and live is None:
            self._check_nothing_is_over(state)
            self._check_folders(state)
        made = states[state]
        swept = self._check_aftermath(state, done=dead.acknowledged or made == {"after"}, first=first)
        return Found(
            dead=dead,
            state=made.pop() if len(made) == 1 else "either",
            swept=swept + (live.swept if live else 0),
            live_puts=len(live.puts) if live else 0,
            unknown_puts=sum(not put.is_known for put in live.puts) if live else 0,
        )

    def close(self) -> None:
        """Frees what is held."""
        for storage in self._storages:
            storage.close()

    def _fresh(self) -> AdapterStore:
        random.seed(self._seed)  # so that it goes on in the same lane of the audit log as the dead one
        return self._scenario.store(self._storages)

    def _check_aftermath(self, state: State, *, done: bool, first: str) -> int:
        """That what the dead one left is in nobody's way and can be removed; how much was.

        ``done`` says whether it had committed to something. The ``first`` to come by is one of `FIRST_COMERS`.
        """
        swept = 0
        if first == "sweep":
            swept = self._sweep(state)
        elif first == "again":
            with suppress(AdapterNotFound):
                self._scenario.action(self._fresh())
            state, done = self._scenario.change(state), True
        if not self._fresh().put(KEY, LATER).active:
            raise Broken("a later put is not the active version")
        state = putting(LATER, retention=self._scenario.retention)(state)
        if done and not self._scenario.finished(self._fresh(), self._storages, self._keys):
            raise Broken(f"not finished, after {first}")
        if first == "sweep":
            self._check(state, "after a later put")
            self._check_nothing_is_over(state)
            self._erase()
        else:
            swept = self._sweep(state)
        return swept

    def _erase(self) -> None:
        self._fresh().erase(KEY)
        self._check(State(), "after a later erasure")
        self._check_nothing_is_over(State())
        self._check_folders(State())
        self._check_log(receipts=False)

    def _sweep(self, state: State) -> int:
        listed = self._listed()
        swept = self._fresh().sweep(KEY)
        if len(listed) - self._check_nothing_is_over(state) != swept:
            raise Broken(f"a sweep says that it removed {swept}")
        self._check(state, "after a sweep")
        self._check_folders(state)
        if self._fresh().sweep(KEY) != 0:
            raise Broken("a second sweep removed something")
        return swept

    def _check(self, expected: State, when: str) -> None:
        found = seen(self._fresh())
        if found != expected:
            raise Broken(f"{when} {_words(found)}; expected {_words(expected)}")

    def _check_log(self, *, receipts: bool = True) -> None:
        store = self._fresh()
        problems = store.verify_audit(KEY.scope).problems
        for receipt in store.receipts(KEY) if receipts else []:
            problems += receipt.problems(log=store.audit_lines(KEY.scope))
        if problems:
            raise Broken(f"the audit log is not whole: {'; '.join(problems)}")

    def _listed(self) -> set[tuple[int, str]]:
        """Objects of both storages that are the user's, but for the pointer."""
        return {
            (number, name)
            for number, storage in enumerate(self._storages)
            for name in storage.names(KEY.prefix)
            if name != POINTER
        }

    def _check_nothing_is_over(self, state: State) -> int:
        """That nothing lies there but what the state needs; how much that is."""
        listed = self._listed()
        if len(listed) != (len(state.versions) + 1 if state.versions else 0):  # the objects and the key
            raise Broken(f"left over beside {_words(state)}: {sorted(listed)}")
        present = None if state.versions else self._storages[0].read(POINTER)
        if present is not None and (is_live(present.data) or not self._place.is_remote):
            raise Broken("a pointer is left of nobody")
        return len(listed)

    def _check_folders(self, state: State) -> None:
        if not state.versions and self._place.folders():
            raise Broken(f"folders are left of nobody: {self._place.folders()}")


def _words(state: State) -> str:
    names = {FIRST.digest: "first", SECOND.digest: "second", THIRD.digest: "third", LATER.digest: "later"}
    names |= {adapter.digest: f"live {number}" for number, adapter in enumerate(LIVE)}
    versions = ", ".join(f"{number}: {names.get(digest, 'unknown')}" for number, digest in state.versions)
    return f"{{{versions}}} with {state.active} active" if versions else "nobody"
