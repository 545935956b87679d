"""Choosing the next token of each row from its logits."""

import secrets
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from hypernet.engines.engine import Sampling


class Chooser:
    """Chooses the tokens of one answer, from its own stream of random numbers where it draws."""

    def __init__(self, sampling: Sampling) -> None:
        self.greedy = sampling.temperature == 0
        self._temperature = sampling.temperature
        self._top_p = sampling.top_p
        self._random = torch.Generator()
        self._random.manual_seed(secrets.randbits(63) if sampling.seed is None else sampling.seed)

    def draw(self, logits: Float[Tensor, " vocab"]) -> int:
        """One token, likelier ones more often. `logits` are finite and on the CPU."""
        ordered, tokens = logits.double().sort(descending=True)
        # Against the greatest, so that no temperature makes the quotient overflow.
        weights = ((ordered - ordered[0]) / self._temperature).softmax(-1).cumsum(-1)
        # The likeliest tokens up to and including the one with which they hold top_p, at least one.
        kept = int((weights < self._top_p).sum()) + 1
        weights = weights[:kept]
        point = torch.rand((), dtype=torch.float64, generator=self._random) * weights[-1]
        return int(tokens[min(int(torch.searchsorted(weights, point, right=True)), len(weights) - 1)])


def choose(logits: Float[Tensor, "rows vocab"], choosers: Sequence[Chooser | None]) -> list[int | None]:
    """The next token of each row that has a chooser; None where there is none and where logits are not finite.

    A row's token depends on its own logits only.
    """
    best, tokens = logits.max(-1)
    # The greatest value is not finite if any is not-a-number or plus infinity, or all are minus infinity.
    sound: list[bool] = best.isfinite().tolist()
    greedy: list[int] = tokens.tolist()
    chosen: list[int | None] = []
    for row, chooser in enumerate(choosers):
        if chooser is None or not sound[row]:
            chosen.append(None)
        else:
            chosen.append(greedy[row] if chooser.greedy else chooser.draw(logits[row].cpu()))
    return chosen
