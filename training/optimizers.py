"""Optimisers and learning-rate schedules."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon for hidden weight matrices and AdamW for everything else, as one optimiser.

    Lightning's automatic optimisation and its step count expect exactly one optimiser. The parameter groups are the very
    dictionaries of the two inner optimisers, so a scheduler that writes a group's learning rate reaches both.

    Source: K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024.

    Args:
        matrices: two-dimensional hidden weights.
        others: embeddings, norms, scalers, stacked weights.
        lr: peak learning rate of AdamW and, by the root-mean-square matching of torch's Muon, of Muon as well.
        matrix_lr_factor: Muon's rate relative to ``lr``.
        weight_decay: decoupled decay, for matrices only.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        others: Iterable[nn.Parameter],
        *,
        lr: float,
        matrix_lr_factor: float = 1.0,
        weight_decay: float = 0.0,
    ) -> None:
        self._muon = torch.optim.Muon(
            list(matrices), lr=lr * matrix_lr_factor, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
        )
        self._adamw = torch.optim.AdamW(list(others), lr=lr, betas=(0.9, 0.98), weight_decay=0.0)
        super().__init__([*self._muon.param_groups, *self._adamw.param_groups], {})
        self.param_groups = [*self._muon.param_groups, *self._adamw.param_groups]

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One update of both; runs ``closure`` first, as Lightning asks."""
        result = None
        if closure is not None:
            with torch.enable_grad():
                result = closure()
        self._muon.step()
        self._adamw.step()
        return result

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of both."""
        self._muon.zero_grad(set_to_none=set_to_none)
        self._adamw.zero_grad(set_to_none=set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """State of both, by name."""
        return {"muon": self._muon.state_dict(), "adamw": self._adamw.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore both and share their parameter groups again."""
        self._muon.load_state_dict(state_dict["muon"])
        self._adamw.load_state_dict(state_dict["adamw"])
        self.param_groups = [*self._muon.param_groups, *self._adamw.param_groups]


def warmup_hold_decay(*, total: int, warmup: int, decay_share: float) -> Callable[[int], float]:
    """Factor on the peak learning rate: linear rise, plateau, linear fall to 2 %.

    Args:
        total: steps in all.
        warmup: steps of the rise.
        decay_share: share of ``total`` that falls, 0 to 1.
    """
    fall = max(1, int(total * decay_share))

    def factor(step: int) -> float:
        rise = min(1.0, (step + 1) / max(1, warmup))
        return rise * max(0.02, min(1.0, (total - step) / fall))

    return factor
