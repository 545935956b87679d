"""The suites: each a function of a bench and a number of documents that gives a record of observations."""

from collections.abc import Callable
from dataclasses import dataclass

from training.evaluation.bench import Bench
from training.evaluation.record import Record
from training.evaluation.suites.conversation import conversation
from training.evaluation.suites.frontier import frontier
from training.evaluation.suites.interference import interference
from training.evaluation.suites.long import long
from training.evaluation.suites.needle import needle
from training.evaluation.suites.personality import personality
from training.evaluation.suites.profiles import profiles


@dataclass(frozen=True, kw_only=True)
class Suite:
    """One suite.

    Attributes:
        run: measures a checkpoint on a number of documents; 2 at least.
        count: that number unless another is asked for.
        counted: what it counts.
    """

    run: Callable[[Bench, int], Record]
    count: int
    counted: str


SUITES: dict[str, Suite] = {
    "profiles": Suite(run=profiles, count=500, counted="people"),
    "needle": Suite(run=needle, count=50, counted="documents of each length"),
    "interference": Suite(run=interference, count=100, counted="people"),
    "long": Suite(run=long, count=100, counted="users"),
    "conversation": Suite(run=conversation, count=200, counted="conversations"),
    "personality": Suite(run=personality, count=60, counted="documents"),
    "frontier": Suite(run=frontier, count=8, counted="people"),
}
"""Suites by name."""
