"""One line that says how far a run is: steps, tokens a second, time left, losses, and the held-out score."""

import sys
from collections.abc import Iterator, Mapping
from time import monotonic
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from torch import Tensor


class Progress(ProgressBar):
    """A Rich progress bar for runs of a known number of steps, on standard error.

    It shows optimiser steps done and in all, tokens a second (over the last half minute or so, padding included,
    validations left out), time gone and left, what the module logs with ``prog_bar``, and the held-out score. Where
    standard error is no terminal, it prints a plain line now and then instead.

    Args:
        score: name of the held-out score, as the module logs it in validation.
        every_s: seconds between two lines where standard error is no terminal.
    """

    def __init__(self, score: str = "exact/own", every_s: float = 30.0) -> None:
        super().__init__()
        self.score = score
        self.every_s = every_s
        self.tokens_per_s = 0.0
        self._enabled = True
        self._bar: RichProgress | None = None
        self._last_line = 0.0
        self._last_step = 0.0

    def disable(self) -> None:
        """Show nothing; Lightning calls it on every process but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Show again."""
        self._enabled = True

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Draw the bar, from the step that a resumed run stands at."""
        self._last_step = self._last_line = monotonic()
        console = Console(stderr=True)
        if not self._enabled or not console.is_terminal:
            return
        self._bar = RichProgress(
            TextColumn("{task.completed} of {task.total} steps"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[speed]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            TextColumn("{task.fields[shown]}"),
            console=console,
        )
        self._task = self._bar.add_task("", total=_total(trainer), completed=trainer.global_step, speed="", shown="")
        self._bar.start()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the batch's tokens and show."""
        now = monotonic()
        took = max(now - self._last_step, 1e-9)
        self._last_step = now
        speed = count_tokens(batch) / took
        # An exponential mean with a memory of half a minute, whatever a step takes.
        kept = 0.0 if not self.tokens_per_s else 0.5 ** (took / 30.0)
        self.tokens_per_s = kept * self.tokens_per_s + (1 - kept) * speed
        shown = self._shown(trainer, pl_module)
        if self._bar:
            self._bar.update(self._task, completed=trainer.global_step, speed=self._speed(), shown=shown)
        elif self._enabled and now - self._last_line >= self.every_s:
            self._last_line = now
            sys.stderr.write(f"step {trainer.global_step} of {_total(trainer)}, {self._speed()}, {shown}\n")

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Leave the validation out of the speed, and tell its score where there is no bar."""
        self._last_step = monotonic()
        if self._enabled and not self._bar and trainer.global_step and self.score in trainer.callback_metrics:
            sys.stderr.write(f"step {trainer.global_step} of {_total(trainer)}, {self._held_out(trainer)}\n")

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Leave the bar as it is."""
        self._stop()

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Give the terminal back before the error is printed."""
        self._stop()

    def _stop(self) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None

    def _speed(self) -> str:
        return f"{self.tokens_per_s:,.0f} tokens/s"

    def _held_out(self, trainer: lightning.Trainer) -> str:
        return f"held out {self.score} {float(trainer.callback_metrics[self.score]):.3f}"

    def _shown(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> str:
        metrics = self.get_metrics(trainer, pl_module)
        parts = [
            f"{name} {value:.3f}" if isinstance(value, float) else f"{name} {value}"
            for name, value in metrics.items()
            if name not in ("v_num", self.score)
        ]
        return ", ".join([*parts, *([self._held_out(trainer)] if self.score in trainer.callback_metrics else [])])


def count_tokens(batch: Any) -> int:
    """Tokens in a batch, padding included: the entries of every tensor whose field's name is or ends in ``ids``."""
    return sum(tensor.numel() for name, tensor in _tensors(batch, "") if name.endswith("ids"))


def _tensors(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """Every tensor in nested named tuples and mappings, with the name of its field."""
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _tensors(part, str(key))
    elif hasattr(value, "_fields"):
        for key in value._fields:
            yield from _tensors(getattr(value, key), key)


def _total(trainer: lightning.Trainer) -> int | None:
    return trainer.max_steps if trainer.max_steps > 0 else None
