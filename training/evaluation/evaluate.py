"""One suite, one checkpoint, five arms: the table that every quality figure comes from."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hypernet.adapters import Adapter
from hypernet.generators import Generator
from training.evaluation.arms import ARMS, Arm, replies
from training.evaluation.intervals import Share, share_of
from training.evaluation.scoring import counts_for_manner, has_manner, is_exact, measures_of
from training.evaluation.suites import SUITES, Case

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and of how much."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One figure: a share under one arm, with its count and 95 % interval."""

    name: str
    arm: Arm
    value: float
    count: int
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """All figures of a suite for a checkpoint."""

    suite: str
    checkpoint: str
    measures: tuple[Measure, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"measures": [asdict(measure) for measure in self.measures]}

    def share(self, name: str, arm: Arm) -> Measure | None:
        """The figure called ``name`` under ``arm``, if there is one."""
        return next((m for m in self.measures if m.name == name and m.arm == arm), None)


def evaluate(
    generator: Generator,
    *,
    suite: str,
    documents: int,
    progress: Progress = lambda what, done, total: None,
) -> Evaluation:
    """Ask the questions of ``suite`` under every arm.

    Args:
        generator: what is measured.
        suite: a key of ``SUITES``.
        documents: number of documents.
        progress: called as the work goes on.
    """
    cases = SUITES[suite](documents)
    adapters: list[Adapter] = []
    for case in cases:
        adapters.append(generator.generate(case.document).adapter)
        progress("adapters", len(adapters), len(cases))
    measures: list[Measure] = []
    for arm in ARMS:
        measures += _measure(generator, cases, adapters, arm, progress)
    return Evaluation(suite=suite, checkpoint=generator.name, measures=tuple(measures))


def _measure(
    generator: Generator, cases: Sequence[Case], adapters: Sequence[Adapter], arm: Arm, progress: Progress
) -> list[Measure]:
    hits: dict[str, list[bool]] = defaultdict(list)
    people: dict[str, list[int]] = defaultdict(list)
    for reply in replies(generator, cases, adapters, arm):
        question = cases[reply.case].questions[reply.question]
        scored = [(name, is_exact(reply.text, question)) for name in measures_of(question)]
        if counts_for_manner(question):
            scored.append(("manner", has_manner(reply.text, question)))
        for name, hit in scored:
            hits[name].append(hit)
            people[name].append(reply.case)
        progress(f"arm {arm}", reply.case + 1, len(cases))
    shares: dict[str, Share] = {name: share_of(hits[name], people[name]) for name in sorted(hits)}
    return [Measure(name=name, arm=arm, **asdict(share)) for name, share in shares.items()]
