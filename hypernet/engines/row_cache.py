"""Keys and values of a running batch: one lane for each row, allocated ahead, written in place."""

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin

from hypernet.models.buckets import KEY_TILE, round_up

_FIRST_POSITIONS = 256


class PrefillDone(BaseException):
    """Ends a prefill once the last layer's keys and values are in. Not an `Exception`, so that no model swallows it."""


@dataclass(frozen=True, kw_only=True)
class _Prefill:
    """A pass that reads sequences into rows from position 0; each sequence attends to itself alone."""

    rows: Int[Tensor, " sequences"]


@dataclass(kw_only=True)
class _Step:
    """A pass that adds one position to every row, which attends to the first `visible` positions of its lane."""

    positions: Int[Tensor, " rows"]
    visible: int
    room: int
    """Positions that a lane has."""
    _flat: dict[int, Tensor] = field(default_factory=dict)

    def flat(self, heads: int) -> Int[Tensor, " rows_times_heads"]:
        """Where the position written lies in a layer of so many heads, as if its lanes were one list of vectors."""
        if heads not in self._flat:
            lanes = torch.arange(self.positions.shape[0] * heads, device=self.positions.device)
            self._flat[heads] = lanes * self.room + self.positions.repeat_interleave(heads)
        return self._flat[heads]


class RowLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """One layer's keys and values, `[rows, heads, positions, width]`."""

    def __init__(self, cache: "RowCache", *, last: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._cache = cache
        self._last = last

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate, at the number of heads and width that the model turns out to have."""
        rows, positions = self._cache.rows, self._cache.positions
        self.keys = key_states.new_zeros(rows, key_states.shape[1], positions, key_states.shape[3])
        self.values = value_states.new_zeros(rows, value_states.shape[1], positions, value_states.shape[3])
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write what this pass made; returns what it attends to."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        running = self._cache.running
        if running is None or self.keys is None or self.values is None:
            raise RuntimeError("the cache was used outside a prefill or a step")
        if isinstance(running, _Prefill):
            length = key_states.shape[2]
            self.keys[running.rows, :, :length] = key_states
            self.values[running.rows, :, :length] = value_states
            if self._last:
                raise PrefillDone
            return key_states, value_states
        rows, heads = key_states.shape[:2]
        for store, states in ((self.keys, key_states), (self.values, value_states)):
            width = states.shape[3]
            store.view(-1, width).index_copy_(0, running.flat(heads), states.reshape(-1, width))
        return self.keys[:rows, :, : running.visible], self.values[:rows, :, : running.visible]

    def grow(self, positions: int) -> None:
        """Make room for more positions, keeping what is there; nothing happens where there is room."""
        for name in ("keys", "values"):
            old: Tensor | None = getattr(self, name)
            if old is not None and old.shape[2] < positions:
                new = old.new_zeros(*old.shape[:2], positions, old.shape[3])
                new[:, :, : old.shape[2]] = old
                setattr(self, name, new)

    def move(self, source: int, target: int, positions: int) -> None:
        """Copy the first `positions` positions of one row to another."""
        for store in (self.keys, self.values):
            if store is not None:
                store[target, :, :positions] = store[source, :, :positions]

    def clear(self, row: int, positions: int) -> None:
        """Zero the first `positions` positions of a row."""
        for store in (self.keys, self.values):
            if store is not None:
                store[row, :, :positions] = 0

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """A prefill looks at itself alone. A step brings its own mask and does not ask."""
        return query_length, 0

    def get_seq_length(self) -> int:
        """A prefill starts from nothing. A step brings its own positions and does not ask."""
        return 0

    def get_max_length(self) -> int:
        """No maximum: it grows."""
        return -1


class RowCache(Cache):
    """The cache that the model sees, over all layers.

    Everything in it is finite unless the row's own values are not: lanes start as zeros and `clear` makes them zeros
    again. A step looks at the masked positions of a row's own lane too, and zero times not-a-number is not zero.
    """

    def __init__(self, *, layers: int, rows: int, max_positions: int) -> None:
        self.rows = rows
        self.max_positions = round_up(max_positions, tile=KEY_TILE)
        self.positions = min(_FIRST_POSITIONS, self.max_positions)
        self.running: _Prefill | _Step | None = None
        self._lanes = [RowLayer(self, last=index == layers - 1) for index in range(layers)]
        super().__init__(layers=list(self._lanes))

    def begin_prefill(self, rows: Int[Tensor, " sequences"], *, length: int) -> None:
        """The next pass reads `length` tokens of each sequence into `rows`, from position 0."""
        self._make_room(length)
        self.running = _Prefill(rows=rows)

    def begin_step(self, positions: Int[Tensor, " rows"], *, visible: int) -> None:
        """The next pass writes one position of each row and attends to the first `visible` of its lane."""
        self._make_room(visible)
        self.running = _Step(positions=positions, visible=visible, room=self.positions)

    def move(self, source: int, target: int, *, positions: int) -> None:
        """Copy the first `positions` positions of one row to another."""
        for lane in self._lanes:
            lane.move(source, target, positions)

    def clear(self, row: int, *, positions: int) -> None:
        """Zero the first `positions` positions of a row."""
        for lane in self._lanes:
            lane.clear(row, positions)

    def _make_room(self, positions: int) -> None:
        while self.positions < positions:
            self.positions = min(2 * self.positions, max(self.max_positions, positions))
        # Every time, so that a pass that ran out of memory halfway leaves nothing to mend.
        for lane in self._lanes:
            lane.grow(self.positions)


def attention_bias(
    positions: Int[Tensor, " rows"], *, visible: int, dtype: torch.dtype
) -> Float[Tensor, "rows 1 1 keys"]:
    """What a step adds to its scores: 0 up to each row's own position, minus infinity after it."""
    keys = torch.arange(visible, device=positions.device)
    bias = torch.zeros(positions.shape[0], visible, dtype=dtype, device=positions.device)
    bias.masked_fill_(keys > positions[:, None], float("-inf"))
    return bias[:, None, None, :]
