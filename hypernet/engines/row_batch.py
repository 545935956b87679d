"""A running batch as the model sees it: rows with an adapter, a past and a next token, stepped all at once."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from hypernet.engines.row_cache import PrefillDone, RowCache, attention_bias
from hypernet.models import BASE_SLOT, BaseModel, SlotBank
from hypernet.models.attention import use_row_attention
from hypernet.models.buckets import KEY_TILE, ROW_TILE, padded_length, round_up


class RowBatch:
    """Up to `rows` sequences that grow by one token a step, each under its own adapter.

    Promise, on a CPU and for one number of threads: the logits of a row are, bit for bit, those of the same prompt and
    tokens under the same adapter alone in the batch; whatever the other rows run (adapters with values that are not
    finite included), wherever the row stands, whenever the others came, and however long they are. Three things make it
    so. Rows never meet in an operation except in matrix products against the base weights, and those run at multiples
    of `ROW_TILE` rows, where a kernel treats all rows alike. A row's past is padded to multiples of `KEY_TILE` with
    zeros, which add nothing. A prompt is read at a length that depends on itself alone.

    What is not promised: the same bits on another machine, with another number of threads, another release of PyTorch,
    or on a GPU. Not thread-safe; `close()` gives the base model its own attention back.
    """

    def __init__(self, base: BaseModel, bank: SlotBank, *, rows: int) -> None:
        self.base = base
        self.rows = round_up(rows, tile=ROW_TILE)
        self._bank = bank
        self._adapters = bank.gather([BASE_SLOT] * self.rows)
        self._cache = RowCache(layers=base.num_layers, rows=self.rows, max_positions=base.max_context_tokens)
        self._undo_attention = use_row_attention(base)
        # What the next step reads: each row's last token and where it stands. A row without a sequence reads token 0 at
        # position 0 under the base model, over and over.
        self._live = [False] * self.rows
        self._tokens = [0] * self.rows
        self._positions = [0] * self.rows
        # How much of each row's lane was ever written since it was last cleared.
        self._written = [0] * self.rows

    @torch.inference_mode()
    def begin(self, rows: Sequence[int], prompts: Sequence[Sequence[int]], slots: Sequence[int]) -> None:
        """Start sequences in rows that have none, reading each prompt under the adapter that its slot holds now.

        A later write to the slot does not reach the row. The last token of a prompt is left to the next step, so that
        all logits come from steps. After an error, `clear` the rows.
        """
        groups: dict[int, list[int]] = {}
        for index, (row, prompt, slot) in enumerate(zip(rows, prompts, slots)):
            self._live[row] = True
            self._tokens[row], self._positions[row] = prompt[-1], len(prompt) - 1
            self._adapters.assign(row, slot)
            if len(prompt) > 1:
                length = min(padded_length(len(prompt) - 1), self.base.max_context_tokens)
                groups.setdefault(length, []).append(index)
        for length, members in groups.items():
            self._read([rows[i] for i in members], [prompts[i][:-1] for i in members], length=length)

    def _read(self, rows: Sequence[int], prompts: Sequence[Sequence[int]], *, length: int) -> None:
        ids, _ = self.base.pad(prompts, length=length)
        for row in rows:
            self._written[row] = length
        self._cache.begin_prefill(torch.tensor(rows, device=ids.device), length=length)
        try:
            with self._bank.applied(self._adapters.select(rows)):
                self.base.decoder(input_ids=ids, past_key_values=self._cache, use_cache=True)
        except PrefillDone:
            pass

    @torch.inference_mode()
    def step(self) -> Float[Tensor, "rows vocab"]:
        """The logits that follow each row's last token, for every row up to the last that has a sequence, and some."""
        last = max(row for row in range(self.rows) if self._live[row])
        rows = round_up(last + 1, tile=ROW_TILE)
        visible = round_up(max(self._positions[:rows]) + 1, tile=KEY_TILE)
        for row in range(rows):
            self._written[row] = max(self._written[row], self._positions[row] + 1)
        tokens = torch.tensor(self._tokens[:rows], device=self.base.device)
        positions = torch.tensor(self._positions[:rows], device=self.base.device)
        self._cache.begin_step(positions, visible=visible)
        with self._bank.applied(self._adapters.first(rows)):
            logits: Tensor = self.base.module(
                input_ids=tokens[:, None],
                position_ids=positions[:, None],
                attention_mask=attention_bias(positions, visible=visible, dtype=self.base.dtype),
                past_key_values=self._cache,
                use_cache=True,
            ).logits
        return logits[:, 0]

    def extend(self, row: int, token: int) -> None:
        """Append a token to a row that has a sequence; the next step reads it."""
        self._tokens[row] = token
        self._positions[row] += 1

    @torch.inference_mode()
    def clear(self, row: int) -> None:
        """End a row's sequence, if it has one; nothing of it or its adapter stays."""
        self._cache.clear(row, positions=self._written[row])
        self._adapters.assign(row, BASE_SLOT)
        self._live[row] = False
        self._tokens[row] = self._positions[row] = self._written[row] = 0

    @torch.inference_mode()
    def compact(self) -> dict[int, int]:
        """Move sequences to lower rows where that makes steps smaller; returns where each that moved is now."""
        moved: dict[int, int] = {}
        while True:
            live = [row for row in range(self.rows) if self._live[row]]
            if not live or live[-1] < round_up(len(live), tile=ROW_TILE):
                return moved
            target = self._live.index(False)
            self._move(live[-1], target)
            moved[live[-1]] = target

    def _move(self, source: int, target: int) -> None:
        self._cache.move(source, target, positions=self._written[source])
        self._adapters.move(source, target)
        self._live[target] = True
        self._tokens[target], self._positions[target] = self._tokens[source], self._positions[source]
        self._written[target] = max(self._written[target], self._written[source])
        self.clear(source)

    def close(self) -> None:
        """Give the base model its own attention back. Idempotent."""
        self._undo_attention()
        self._undo_attention = lambda: None
