"""Stub."""

from training.evaluation.bench import Bench
from training.evaluation.record import Record


def frontier(bench: Bench, count: int) -> Record:
    """Stub."""
    raise NotImplementedError
