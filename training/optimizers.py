"""Optimisers and learning-rate schedules."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from hypernet.errors import SettingsError


def orthogonalised(gradients: Tensor, *, iterations: int = 5) -> Tensor:
    """Nearly orthogonal matrices with the singular vectors of ``gradients``, by a quintic Newton-Schulz iteration.

    Args:
        gradients: ``count rows columns``; a whole stack at once, because on a CPU many small products cost more than
            one batched one: a third of a training step with torch's Muon, which goes matrix by matrix.
        iterations: of the polynomial.

    Source: K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024 (coefficients as
    published).
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = gradients.shape[-2] > gradients.shape[-1]
    x = (gradients.mT if tall else gradients).to(torch.bfloat16)
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(gradients.dtype)


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon for hidden weight matrices and AdamW for everything else, as one optimiser.

    Lightning's automatic optimisation and its step count expect exactly one optimiser.

    Source: K. Jordan et al., 2024 (Muon); J. Liu et al., "Muon is scalable for LLM training", 2025 (update scaled by
    0.2 sqrt(max(rows, columns)), so that one learning rate fits both).

    Args:
        matrices: two-dimensional hidden weights.
        others: embeddings, norms, scalers, stacked weights.
        lr: peak learning rate.
        momentum: of Muon.
        betas: of AdamW.
        weight_decay: decoupled decay, for ``matrices`` only.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        others: Iterable[nn.Parameter],
        *,
        lr: float,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.98),
        weight_decay: float = 0.0,
    ) -> None:
        groups = [
            {"params": list(matrices), "muon": True, "weight_decay": weight_decay},
            {"params": list(others), "muon": False, "weight_decay": 0.0},
        ]
        super().__init__(groups, {"lr": lr, "momentum": momentum, "betas": betas, "eps": 1e-8})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One update; runs ``closure`` first, as Lightning asks."""
        result = None
        if closure is not None:
            with torch.enable_grad():
                result = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if group["muon"]:
                by_shape: dict[torch.Size, list[nn.Parameter]] = {}
                for parameter in parameters:
                    by_shape.setdefault(parameter.shape, []).append(parameter)
                for shape, members in by_shape.items():
                    self._muon_step(members, shape, group)
            else:
                self._adamw_step(parameters, group)
        return result

    def _muon_step(self, members: list[nn.Parameter], shape: torch.Size, group: dict[str, Any]) -> None:
        """Nesterov momentum, orthogonalised, for all matrices of one shape."""
        momentum = group["momentum"]
        updates = []
        for parameter in members:
            state = self.state[parameter]
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            state["momentum"].lerp_(parameter.grad, 1 - momentum)
            updates.append(parameter.grad.lerp(state["momentum"], momentum))
        scale = 0.2 * max(shape) ** 0.5
        for parameter, update in zip(members, orthogonalised(torch.stack(updates)), strict=True):
            parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"] * scale)

    def _adamw_step(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        """Adam with bias correction."""
        first_decay, second_decay = group["betas"]
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["step"] = torch.tensor(0.0)
                state["first"], state["second"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
            state["step"] += 1
            count = float(state["step"])
            state["first"].lerp_(parameter.grad, 1 - first_decay)
            state["second"].lerp_(parameter.grad.square(), 1 - second_decay)
            denominator = (state["second"] / (1 - second_decay**count)).sqrt_().add_(group["eps"])
            parameter.addcdiv_(state["first"], denominator, value=-group["lr"] / (1 - first_decay**count))


def warmup_hold_decay(*, total: int, warmup: int, decay_share: float) -> Callable[[int], float]:
    """Factor on the peak learning rate: linear rise, plateau, linear fall to 2 %.

    Args:
        total: steps in all.
        warmup: steps of the rise.
        decay_share: share of ``total`` that falls, 0 to 1.

    Raises:
        SettingsError: ``total`` is no number of steps; a trainer without ``max_steps`` has -1.
    """
    if total < 1:
        raise SettingsError(
            f"Expected trainer.max_steps to be the number of optimiser steps, it is {total}. Set it, whatever else "
            "ends the run: the learning rate falls towards it."
        )
    fall = max(1, int(total * decay_share))

    def factor(step: int) -> float:
        rise = min(1.0, (step + 1) / max(1, warmup))
        return rise * max(0.02, min(1.0, (total - step) / fall))

    return factor
