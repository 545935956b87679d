"""Which batches of an endless stream a process of the trainer takes."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import lightning


@dataclass(frozen=True, kw_only=True)
class BatchNumbers:
    """The batches from a step on, without end: those that a run would take which was never interrupted.

    Attributes:
        first_step: optimiser step to begin with.
        batches_a_step: batches whose gradients one process adds up for a step.
        process: number of the process.
        processes: number of processes that train together.
    """

    first_step: int = 0
    batches_a_step: int = 1
    process: int = 0
    processes: int = 1

    @classmethod
    def of(cls, trainer: lightning.Trainer | None) -> "BatchNumbers":
        """Those of the step that ``trainer`` stands at; from the first one on if there is no trainer."""
        if trainer is None:
            return cls()
        return cls(
            first_step=trainer.global_step,
            batches_a_step=trainer.accumulate_grad_batches,
            process=trainer.global_rank,
            processes=trainer.world_size,
        )

    def __iter__(self) -> Iterator[int]:
        """Numbers of batches; each number is one process's."""
        for taken in count(self.first_step * self.batches_a_step):
            yield taken * self.processes + self.process

    def step_of(self, number: int) -> int:
        """The optimiser step that the batch of that number is part of."""
        return number // self.processes // self.batches_a_step
