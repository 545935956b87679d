"""Serving's route: adapters that stay resident in slots, and a batch whose every row runs its own."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hypernet.adapters import Adapter, validate
from hypernet.errors import AdapterInvalid, AdapterMismatch
from hypernet.models.base_model import BaseModel
from hypernet.models.functional import add_lora
from hypernet.models.installation import Installation, LoraLinear

BASE_SLOT = 0
"""The slot of all zeros: its rows are the base model's, to the last bit."""

Pair = tuple[Float[Tensor, "rows rank _"], Float[Tensor, "rows _ rank"]]


class _Active(threading.local):
    """The pairs of the forward pass that this thread is running, one per layer; None for the base model alone."""

    pairs: Sequence[Pair] | None = None


class SlotLinear(LoraLinear):
    """A frozen linear layer plus, in each row of the batch, the LoRA pair chosen for that row."""

    def __init__(self, inner: nn.Module, *, index: int, active: _Active) -> None:
        super().__init__(inner)
        self.index = index
        self.active = active

    def forward(self, x: Float[Tensor, "rows tokens d_in"]) -> Float[Tensor, "rows tokens d_out"]:
        """`inner(x) + B A x` with the pair of each row, and `inner(x)` itself when no pairs are active."""
        out: Tensor = self.inner(x)
        pairs = self.active.pairs
        if pairs is None:
            return out
        a, b = pairs[self.index]
        return add_lora(out, x, a, b, scaling=1.0)


class RowAdapters:
    """The adapters of the rows of a batch, copied out of their slots once and then used for many steps.

    Copying once is what keeps a step cheap: a step that gathered from the slots would move every adapter every time.
    A row starts in the base slot.
    """

    def __init__(self, bank: "SlotBank", rows: int) -> None:
        self._bank = bank
        self._pairs = [(a.new_zeros(rows, *a.shape[1:]), b.new_zeros(rows, *b.shape[1:])) for a, b in bank.pairs]
        self._adapted = [False] * rows
        self._views: dict[int, list[Pair]] = {}

    def assign(self, row: int, slot: int) -> None:
        """Let `row` run what `slot` holds now; later writes to the slot do not reach the row."""
        if slot == BASE_SLOT and not self._adapted[row]:
            return
        self._adapted[row] = slot != BASE_SLOT
        for (row_a, row_b), (a, b) in zip(self._pairs, self._bank.pairs):
            row_a[row].copy_(a[slot])
            row_b[row].copy_(b[slot])

    def move(self, source: int, target: int) -> None:
        """Let `target` run what `source` runs, and `source` the base model."""
        for row_a, row_b in self._pairs:
            row_a[target].copy_(row_a[source])
            row_b[target].copy_(row_b[source])
        self._adapted[target] = self._adapted[source]
        self.assign(source, BASE_SLOT)

    def first(self, rows: int) -> Sequence[Pair] | None:
        """The pairs of the first `rows` rows, one per layer; None when all of those are the base model's."""
        if not any(self._adapted[:rows]):
            return None
        if rows not in self._views:
            self._views[rows] = [(a[:rows], b[:rows]) for a, b in self._pairs]
        return self._views[rows]

    def select(self, rows: Sequence[int]) -> Sequence[Pair] | None:
        """A copy of the pairs of some rows, in that order; None when all of those are the base model's."""
        if not any(self._adapted[row] for row in rows):
            return None
        index = torch.tensor(rows, device=self._bank.base.device)
        return [(a[index], b[index]) for a, b in self._pairs]


class SlotBank:
    """Room for `slots` adapters of at most `rank` in the base model's target linears, allocated once.

    Slots are numbered from 1; slot 0 is the base model. An adapter of smaller rank is padded with zeros, one that
    leaves out a target module leaves that layer as it is. `uninstall()` puts the original linears back.

    Promise: in a batch of rows with different adapters, a row in slot 0 equals the base model's own row in a batch of
    the same shape exactly, and no row depends on what the slots of other rows hold, not-a-number included: each row
    multiplies by its own pair only, and nothing is masked by multiplication.
    """

    def __init__(self, base: BaseModel, *, slots: int, rank: int, target_modules: Sequence[str]) -> None:
        self.base = base
        self.slots = slots
        self.rank = rank
        self.shapes = base.target_shapes(target_modules)
        zeros = partial(torch.zeros, device=base.device, dtype=base.dtype)
        self.pairs: list[Pair] = [
            (zeros(slots + 1, rank, d_in), zeros(slots + 1, d_out, rank)) for d_in, d_out in self.shapes.values()
        ]
        self._active = _Active()
        index = iter(range(len(self.shapes)))
        self._installation: Installation[SlotLinear] = Installation(
            base, target_modules, lambda inner: SlotLinear(inner, index=next(index), active=self._active)
        )

    def check(self, adapter: Adapter) -> None:
        """Return if `adapter` may be written. Raises `AdapterMismatch` for one that was made for another base model,
        `AdapterInvalid` for one that is not sound, or of a rank or module that this bank has no room for.
        """
        theirs = adapter.provenance.base_model_digest
        if theirs != self.base.digest:
            raise AdapterMismatch(
                f"The adapter was made for the base model with digest {theirs[:16]}, this is {self.base.name} with "
                f"digest {self.base.digest[:16]}. Generate it again for this base model."
            )
        validate(adapter, expected=self.shapes)
        if adapter.rank > self.rank:
            raise AdapterInvalid(
                f"The adapter has rank {adapter.rank}, the engine has room for rank {self.rank}; raise max_rank."
            )

    @torch.no_grad()
    def write(self, slot: int, adapter: Adapter) -> None:
        """Copy an adapter that passed `check` into a slot, its scaling multiplied into B."""
        if not 1 <= slot <= self.slots:
            raise ValueError(f"expected a slot from 1 to {self.slots}, {slot} came")
        self.clear(slot)
        folded = adapter.folded().modules
        for (a, b), name in zip(self.pairs, self.shapes):
            if name in folded:
                a[slot, : adapter.rank].copy_(folded[name].a)
                b[slot, :, : adapter.rank].copy_(folded[name].b)

    @torch.no_grad()
    def clear(self, slot: int) -> None:
        """Make a slot the base model's again; nothing of the adapter stays in it."""
        for a, b in self.pairs:
            a[slot].zero_()
            b[slot].zero_()

    def gather(self, slots: Sequence[int]) -> RowAdapters:
        """The adapters of the rows of a batch, row `i` running slot `slots[i]`."""
        rows = RowAdapters(self, len(slots))
        for row, slot in enumerate(slots):
            rows.assign(row, slot)
        return rows

    @contextmanager
    def applied(self, pairs: Sequence[Pair] | None) -> Iterator[None]:
        """Within this context, and in this thread only, forward passes of the base model run under `pairs`.

        The batch has as many rows as the pairs. All rows in the base slot (`None`) cost nothing and are the base model.
        """
        self._active.pairs = pairs
        try:
            yield
        finally:
            self._active.pairs = None

    def uninstall(self) -> None:
        """Put the original linears back. Idempotent."""
        self._installation.uninstall()
