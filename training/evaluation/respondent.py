"""The base model answering many prompts at once, each under its adapter: fast enough for thousands of questions."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hypernet.adapters import Adapter
from hypernet.models import BaseModel
from hypernet.models.functional import FunctionalLinear, LoraTensors
from hypernet.models.installation import Installation

_ROWS = 128
_TOKENS = 16_384
"""Largest batch: rows, and tokens padding included."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """Token sequences that begin alike and run under one adapter.

    Attributes:
        prefix: how all of them begin; read once. May be empty.
        suffixes: how each goes on; at least one, none of them empty.
        adapter: what they run under; none is the base model.
    """

    prefix: tuple[int, ...]
    suffixes: tuple[tuple[int, ...], ...]
    adapter: Adapter | None = None

    @classmethod
    def of(cls, prompts: Sequence[Sequence[int]], adapter: Adapter | None = None) -> "Block":
        """The block of whole ``prompts``: their longest common beginning is the prefix."""
        shortest = min(prompts, key=len)
        shared = next(
            (at for at, token in enumerate(shortest) if any(prompt[at] != token for prompt in prompts)), len(shortest)
        )
        # Every suffix keeps a token: the one whose successor is asked for.
        shared = min(shared, len(shortest) - 1)
        suffixes = tuple(tuple(prompt[shared:]) for prompt in prompts)
        return cls(prefix=tuple(shortest[:shared]), suffixes=suffixes, adapter=adapter)


class Respondent:
    """Runs prompts of many adapters in large batches. Held: `close()`, or leaving its context, gives the base model its
    own layers back.

    Replies are those of the engine that serves, without its promise about bits: two tokens that are equally likely to
    the last digit may come out the other way round.
    """

    def __init__(self, base: BaseModel, target_modules: Sequence[str]) -> None:
        self._base = base
        self._installation: Installation[FunctionalLinear] = Installation(base, target_modules, FunctionalLinear)

    def __enter__(self) -> "Respondent":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the base model its own layers back. Idempotent."""
        self._installation.uninstall()

    def replies(self, blocks: Sequence[Block], *, max_tokens: int = 24) -> Iterator[tuple[int, list[str]]]:
        """Index of a block and the greedy replies to its prompts, in whatever order they are done."""
        for indices in _batches(blocks, room=max_tokens):
            batch = [blocks[index] for index in indices]
            texts = iter(self._decode(batch, max_tokens=max_tokens))
            for index, block in zip(indices, batch, strict=True):
                yield index, [next(texts) for _ in block.suffixes]

    def losses(self, blocks: Sequence[Block]) -> Iterator[tuple[int, list[Tensor]]]:
        """Index of a block and, for each of its suffixes, the loss in nats of every token after the first one."""
        for indices in _batches(blocks, room=0):
            batch = [blocks[index] for index in indices]
            losses = iter(self._losses(batch))
            for index, block in zip(indices, batch, strict=True):
                yield index, [next(losses) for _ in block.suffixes]

    def next_logits(self, blocks: Sequence[Block]) -> Iterator[tuple[int, list[Tensor]]]:
        """Index of a block and, for each of its suffixes, the logits of the token that follows it."""
        for indices in _batches(blocks, room=0):
            batch = [blocks[index] for index in indices]
            rows = iter(self._last_logits(batch))
            for index, block in zip(indices, batch, strict=True):
                yield index, [next(rows) for _ in block.suffixes]

    @torch.inference_mode()
    def _last_logits(self, batch: Sequence[Block]) -> Tensor:
        with self._under(batch):
            return self._read(batch).last_logits

    @torch.inference_mode()
    def _losses(self, batch: Sequence[Block]) -> list[Tensor]:
        with self._under(batch):
            reading = self._read(batch)
        nats = functional.cross_entropy(
            reading.logits[:, :-1].flatten(0, 1).float(), reading.ids[:, 1:].flatten(), reduction="none"
        ).view(len(reading.ids), -1)
        return [row[: length - 1].cpu() for row, length in zip(nats, reading.lengths.tolist(), strict=True)]

    @torch.inference_mode()
    def _decode(self, batch: Sequence[Block], *, max_tokens: int) -> list[str]:
        stops = torch.tensor(sorted(self._base.stop_token_ids), device=self._base.device)
        with self._under(batch):
            reading = self._read(batch)
            mask, positions, cache = reading.mask, reading.positions, reading.cache
            tokens = reading.last_logits.argmax(-1)
            said = [tokens]
            done = torch.isin(tokens, stops)
            while len(said) < max_tokens and not bool(done.all()):
                positions = positions + 1
                mask = torch.cat((mask, torch.ones_like(mask[:, :1])), dim=1)
                out = self._base.module(
                    input_ids=tokens[:, None],
                    position_ids=positions[:, None],
                    attention_mask=mask,
                    past_key_values=cache,
                    use_cache=True,
                )
                cache, tokens = out.past_key_values, out.logits[:, -1].argmax(-1)
                said.append(tokens)
                done |= torch.isin(tokens, stops)
        return [self._text(row) for row in torch.stack(said, dim=1).tolist()]

    def _text(self, ids: list[int]) -> str:
        stops = self._base.stop_token_ids
        end = next((at for at, token in enumerate(ids) if token in stops), len(ids))
        text: str = self._base.tokenizer.backend_tokenizer.decode(ids[:end], skip_special_tokens=True)
        return text

    def _read(self, batch: Sequence[Block]) -> "_Reading":
        """The forward passes over prefixes and suffixes of blocks with equally many suffixes."""
        base, each = self._base, len(batch[0].suffixes)
        longest = max(len(block.prefix) for block in batch)
        cache, starts = None, torch.zeros(len(batch) * each, dtype=torch.long, device=base.device)
        mask = torch.zeros(len(batch) * each, 0, dtype=torch.bool, device=base.device)
        if longest:
            ids, known = base.pad([block.prefix for block in batch], length=longest)
            # Attention is causal and padding is on the right: a mask would change nothing here.
            cache = base.module(input_ids=ids, use_cache=True, logits_to_keep=1).past_key_values
            cache.batch_repeat_interleave(each)
            mask, starts = known.repeat_interleave(each, 0), known.sum(1).repeat_interleave(each, 0)
        suffixes = [suffix for block in batch for suffix in block.suffixes]
        ids, known = base.pad(suffixes, length=max(map(len, suffixes)))
        mask, lengths = torch.cat((mask, known), dim=1), known.sum(1)
        out = base.module(
            input_ids=ids,
            position_ids=starts[:, None]
            + torch.minimum(torch.arange(ids.shape[1], device=base.device), lengths[:, None] - 1),
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
        )
        return _Reading(
            ids=ids,
            lengths=lengths,
            positions=starts + lengths - 1,
            mask=mask,
            logits=out.logits,
            cache=out.past_key_values,
        )

    @contextmanager
    def _under(self, batch: Sequence[Block]) -> Iterator[None]:
        """Forward passes within run the batch's rows under the adapters of their blocks."""
        layers = self._installation.layers
        try:
            for name, pair in self._pairs(batch).items():
                layers[name].lora, layers[name].scaling = pair, 1.0
            yield
        finally:
            for layer in layers.values():
                layer.lora = None

    def _pairs(self, batch: Sequence[Block]) -> Mapping[str, LoraTensors]:
        adapters = [block.adapter for block in batch]
        if not any(adapters):
            return {}
        if all(adapter is adapters[0] for adapter in adapters):
            adapters = adapters[:1]
        folded = [None if adapter is None else adapter.folded().modules for adapter in adapters]
        rank = max(adapter.rank for adapter in adapters if adapter is not None)
        pairs = {}
        for name, layer in self._installation.layers.items():
            a = torch.zeros(len(folded), rank, layer.d_in)
            b = torch.zeros(len(folded), layer.d_out, rank)
            for place, modules in enumerate(folded):
                if modules is not None and name in modules:
                    pair = modules[name]
                    a[place, : pair.a.shape[0]], b[place, :, : pair.a.shape[0]] = pair.a, pair.b
            device, dtype = self._base.device, self._base.dtype
            pairs[name] = (a.to(device, dtype), b.to(device, dtype))
        return pairs


@dataclass(frozen=True, kw_only=True, eq=False)
class _Reading:
    """A batch as read: the suffixes' ``ids`` and ``logits``, and what further tokens need."""

    ids: Tensor
    lengths: Tensor
    positions: Tensor
    mask: Tensor
    logits: Tensor
    cache: Any

    @property
    def last_logits(self) -> Tensor:
        """Logits after the last token of each row; ``rows vocab``."""
        return self.logits[torch.arange(len(self.logits), device=self.logits.device), self.lengths - 1]


def _batches(blocks: Sequence[Block], *, room: int) -> Iterator[list[int]]:
    """Indices of blocks to run together: equally many suffixes, like lengths, no more than fit."""

    def longest(block: Block) -> int:
        return max(map(len, block.suffixes))

    # Under one adapter for all, ranks say nothing.
    shared = len({id(block.adapter) for block in blocks}) == 1

    def kind(block: Block) -> tuple[int, int, int]:
        rank = 0 if shared or block.adapter is None else block.adapter.rank
        return len(block.suffixes), rank, len(block.prefix) + longest(block)

    order = sorted(range(len(blocks)), key=lambda index: kind(blocks[index]))
    batch: list[int] = []
    prefix = suffix = 0
    for index in order:
        block = blocks[index]
        each = len(block.suffixes)
        wider = max(prefix, len(block.prefix)), max(suffix, longest(block))
        rows = (len(batch) + 1) * each
        fits = rows <= _ROWS and rows * (sum(wider) + room) <= _TOKENS
        if batch and (not fits or len(blocks[batch[0]].suffixes) != each):
            yield batch
            batch, wider = [], (len(block.prefix), longest(block))
        batch.append(index)
        prefix, suffix = wider
    if batch:
        yield batch
