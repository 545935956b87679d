"""Watches for a hypernetwork that writes everybody the same adapter, and stops its training."""

from math import isnan
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn

from training.collapse import Updates, mean_cosine

REMEDIES = (
    "Remedies: train on more distinct people (many documents, few passes), read them with a token-level encoder (the "
    "perceiver architecture) instead of one embedding, or add the contrastive other-person loss "
    "(--model.init_args.other_person_weight 0.1)."
)

OWN_LOSS, MEAN_LOSS = "loss/own", "loss/mean"
"""Validation losses, in nats a token, of replies under their own document's adapter and under the mean adapter."""


class HypernetworkCollapsed(RuntimeError):
    """The run was stopped: the adapters of different documents are one adapter. The message names the remedies."""


class CollapseGuard(Callback):
    """Logs how alike the weight updates of different documents are and what a document's own adapter is worth over the
    mean adapter; warns about a collapse and, past a limit, stops the run.

    The module's steps return a dictionary with ``updates``, and its validation logs ``loss/own`` and ``loss/mean``.
    Logged are ``cosine/documents`` (the ranks that depend on the document), ``cosine/adapters`` (the common ranks with
    them), both in training and, as ``cosine/held_out``, in validation, and ``gap/own_mean`` in nats a token.

    A hypernetwork is taken for collapsed only if both signs agree: updates can be much alike and still tell people
    apart by what little differs, and early in training nothing is worth anything.

    Args:
        every_n_steps: optimiser steps between two measurements on training batches.
        warn_cosine: mean pairwise cosine, a number from -1 to 1, above which a validation warns.
        stop_cosine: mean pairwise cosine, a number from -1 to 1, above which a validation counts towards stopping.
        min_gap: gap between own and mean adapter, in nats a token, below which it counts towards stopping.
        patience: validations in a row that must count before the run stops.
        grace_steps: optimiser steps before anything is judged; generic things are learnt first.
    """

    def __init__(
        self,
        every_n_steps: int = 50,
        warn_cosine: float = 0.9,
        stop_cosine: float = 0.95,
        min_gap: float = 0.02,
        patience: int = 3,
        grace_steps: int = 400,
    ) -> None:
        self.every_n_steps = every_n_steps
        self.warn_cosine = warn_cosine
        self.stop_cosine = stop_cosine
        self.min_gap = min_gap
        self.patience = patience
        self.grace_steps = grace_steps
        self._collapsed = 0
        self._cosines: list[float] = []

    def state_dict(self) -> dict[str, Any]:
        """How many validations in a row have counted, so that a resumed run stops where it would have stopped."""
        return {"collapsed": self._collapsed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self._collapsed = state_dict["collapsed"]

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure every so many steps."""
        if trainer.global_step % self.every_n_steps:
            return
        updates = _updates(outputs)
        documents, adapters = mean_cosine(updates.of_documents()), mean_cosine(updates.pairs)
        # A logger takes no NaN well, and an adapter that changes nothing is like no other.
        if not isnan(documents):
            pl_module.log("cosine/documents", documents, batch_size=1)
        if not isnan(adapters):
            pl_module.log("cosine/adapters", adapters, batch_size=1)

    def on_validation_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Forget the last validation."""
        self._cosines = []

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Measure held-out documents."""
        cosine = mean_cosine(_updates(outputs).of_documents())
        if not isnan(cosine):
            self._cosines.append(cosine)

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Log both signs, and judge."""
        measured = trainer.callback_metrics
        if OWN_LOSS not in measured or MEAN_LOSS not in measured or not self._cosines:
            return
        gap = float(measured[MEAN_LOSS] - measured[OWN_LOSS])
        cosine = sum(self._cosines) / len(self._cosines)
        pl_module.log("gap/own_mean", gap)
        pl_module.log("cosine/held_out", cosine)
        if (
            trainer.state.fn == TrainerFn.FITTING
            and not trainer.sanity_checking
            and trainer.global_step > self.grace_steps
        ):
            self._judge(cosine, gap)

    def _judge(self, cosine: float, gap: float) -> None:
        found = (
            f"the weight updates of different people have a mean cosine of {cosine:.3f}, and a person's own adapter is "
            f"worth {gap:.3f} nats a token over the mean adapter"
        )
        self._collapsed = self._collapsed + 1 if cosine > self.stop_cosine and gap < self.min_gap else 0
        if self._collapsed >= self.patience:
            raise HypernetworkCollapsed(
                f"The hypernetwork has collapsed: in {self._collapsed} validations in a row, {found} (limits "
                f"{self.stop_cosine} and {self.min_gap}). {REMEDIES}"
            )
        if cosine > self.warn_cosine or gap < self.min_gap:
            rank_zero_warn(f"Signs of collapse: {found}. {REMEDIES}")


def _updates(outputs: Any) -> Updates:
    if not isinstance(outputs, dict) or not isinstance(outputs.get("updates"), Updates):
        raise TypeError("The collapse guard needs steps that return a dictionary with `updates`, an `Updates`.")
    updates: Updates = outputs["updates"]
    return updates
