"""What every hypernetwork is: chunks of documents in, LoRA pairs out."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hypernet.models import BaseModel

Pairs = dict[str, tuple[Tensor, Tensor]]
"""For every target module, A and B for each chunk or document of a batch: ``batch rank d_in``, ``batch d_out rank``."""

Encode = Callable[[Sequence[Sequence[int]]], list[Float[Tensor, "layers tokens hidden"]]]
"""Token ids of chunks to the hidden state entering each layer of the base model, as an engine's ``encode`` gives it."""


class Chunks(NamedTuple):
    """Pieces of documents, as text and as the base model's tokens.

    Attributes:
        texts: the text of each.
        ids: int64, ``chunks tokens``: each rendered as a document, padded on the right.
        mask: bool, ``chunks tokens``: true where a token is part of the chunk.
    """

    texts: tuple[str, ...]
    ids: Tensor
    mask: Tensor


class Features(NamedTuple):
    """What a frozen context encoder makes of chunks.

    Attributes:
        values: float; chunks on dimension 1 if there is one number for each layer and token (``layers chunks tokens
            hidden``), on dimension 0 if there is one vector for each chunk (``chunks embedding``).
        mask: bool, ``chunks tokens``; all true, one token wide, for a vector.
    """

    values: Tensor
    mask: Tensor


@dataclass(frozen=True, kw_only=True)
class HypernetworkConfig:
    """Which adapters a hypernetwork writes.

    Attributes:
        modules: full names of the target modules, in layer order.
        d_in: input width of each target module.
        d_out: output width of each target module.
        rank: ranks that one chunk of a document writes.
        bias_rank: further ranks that are the same for every document, added once.
        scaling: number that multiplies ``B A x``. A power of two, so that folding it into B is exact.
    """

    modules: tuple[str, ...]
    d_in: tuple[int, ...]
    d_out: tuple[int, ...]
    rank: int = 24
    bias_rank: int = 8
    scaling: float = 4.0

    def __post_init__(self) -> None:
        """Raises `ValueError` for sizes that make no hypernetwork."""
        if not len(self.modules) == len(self.d_in) == len(self.d_out):
            raise ValueError(
                f"Every target module needs both its widths: {len(self.modules)} modules, {len(self.d_in)} input "
                f"widths and {len(self.d_out)} output widths were given"
            )
        if any(width < 1 for width in (*self.d_in, *self.d_out)):
            raise ValueError("every width of a target module must be at least 1")
        if not self.scaling > 0 or not isfinite(self.scaling):
            raise ValueError(f"scaling must be a positive number, it is {self.scaling}")
        if self.rank < 1 or self.bias_rank < 0:
            raise ValueError(
                f"rank must be at least 1 and bias_rank at least 0, they are {self.rank}, {self.bias_rank}"
            )

    @property
    def total_rank(self) -> int:
        """Rank of the adapter of a document of one chunk: the chunk's and the common ones."""
        return self.rank + self.bias_rank


class Hypernetwork(nn.Module, ABC):
    """Writes adapters for a frozen base model. Serving and training use nothing but these three methods."""

    config: HypernetworkConfig

    @abstractmethod
    def features(self, base: BaseModel, chunks: Chunks, *, encode: Encode | None = None) -> Features:
        """What the frozen context encoder makes of ``chunks``; carries no gradient.

        Args:
            base: the base model that the adapters are for.
            chunks: what to read.
            encode: runs the base model in place of ``base``: a service passes its engine's, so that one thread uses the
                backbone.
        """

    @abstractmethod
    def forward(self, features: Features) -> Pairs:
        """LoRA pairs of ``rank`` for each chunk, ``scaling`` not yet multiplied in; differentiable."""

    @abstractmethod
    def common(self) -> Pairs:
        """The pairs of ``bias_rank`` that every document shares, with a batch of one; differentiable."""

    def join(self, pairs: Pairs, counts: Sequence[int]) -> Pairs:
        """The adapters of documents: their chunks' pairs joined on the rank axis, then the common ones.

        ``B A`` summed over chunks is one product of the concatenated factors. Documents with fewer chunks than the
        longest get ranks of zeros, which change nothing.

        Args:
            pairs: what ``forward`` gave for all chunks, those of a document next to each other.
            counts: number of chunks of each document.
        """
        common = self.common()
        joined = {}
        for name, (a, b) in pairs.items():
            common_a, common_b = common[name]
            documents = len(counts)
            joined[name] = (
                torch.cat((_by_document(a, counts), common_a.expand(documents, -1, -1)), dim=1),
                torch.cat((_by_document(b.mT, counts).mT, common_b.expand(documents, -1, -1)), dim=2),
            )
        return joined


def _by_document(rows: Tensor, counts: Sequence[int]) -> Tensor:
    """``chunks rank width`` to ``documents (longest * rank) width``, zeros where a document has no further chunk."""
    longest = max(counts)
    if longest == 1:
        return rows
    padded = rows.new_zeros(len(counts), longest, *rows.shape[1:])
    documents = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts)).to(rows.device)
    places = torch.cat([torch.arange(count) for count in counts]).to(rows.device)
    return padded.index_put((documents, places), rows).flatten(1, 2)
