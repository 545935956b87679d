"""Figures, the arms they are taken under, and what a suite's run gives."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Arm = Literal["none", "prompt", "adapter", "other", "mean"]
ARMS: tuple[Arm, ...] = ("none", "prompt", "adapter", "other", "mean")

OF_PROMPT = "of-prompt"
"""Measures of this name compare the arm ``adapter`` with ``prompt``."""


def is_comparison(name: str) -> bool:
    """Whether the measure compares two arms of another, whose name is the rest of its own."""
    return name.startswith((f"{OF_PROMPT}/", "gap/prompt/", "gap/none/"))


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One figure under one arm, with its count and 95 % interval.

    Attributes:
        name: what is measured; a share between 0 and 1 unless docs/evaluation.md gives the name a unit.
        arm: who answered.
        value: the figure.
        count: of what it is a share or a mean: questions, turns, texts, documents.
        low: lower end of the 95 % interval.
        high: upper end.
    """

    name: str
    arm: Arm
    value: float
    count: int
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """All figures of a suite for a checkpoint.

    Attributes:
        suite: name of the suite; ``documents`` for a folder of documents.
        checkpoint: name of the checkpoint.
        measures: the figures.
        notes: what a reader has to know beside them: what stood in for missing data, what was cut or left out.
    """

    suite: str
    checkpoint: str
    measures: tuple[Measure, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, without the notes."""
        return {
            "suite": self.suite,
            "checkpoint": self.checkpoint,
            "measures": [asdict(measure) for measure in self.measures],
        }

    def measure(self, name: str, arm: Arm) -> Measure | None:
        """The figure called ``name`` under ``arm``, if there is one."""
        return next((m for m in self.measures if m.name == name and m.arm == arm), None)

    @property
    def names(self) -> list[str]:
        """Names of the measures, each once, in the order of the measures."""
        return list(dict.fromkeys(measure.name for measure in self.measures))
