"""Several short conversations in one sequence."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hypernet.models import AdaptedModel
from hypernet.models.functional import LoraTensors
from training.chat_format import Row

IGNORED = -100
"""Label of a place where nothing is scored; what ``cross_entropy`` skips."""


class PackedRows(NamedTuple):
    """Several short conversations in one sequence a document, none of which sees another.

    Positions start again with every conversation, which is what transformers takes as the border between packed
    sequences. Padding them one by one instead would nearly double the tokens.

    Only replies are scored, a quarter of the tokens or less: logits are wanted at their places alone. A place is the
    token before one that is scored.

    Attributes:
        ids: int64, ``documents tokens``; padded on the right.
        positions: int64, ``documents tokens``.
        places: int64, ``documents places``: where in the sequence; zero where a document has fewer places than another.
        labels: int64, ``documents places``: the token of a reply that follows; ``IGNORED`` where there is no place.
        conversations: int64, ``documents places``: which conversation of its document a place is part of.
    """

    ids: Tensor
    positions: Tensor
    places: Tensor
    labels: Tensor
    conversations: Tensor


def pad_rows(rows: Sequence[Row], pad_id: int) -> Tensor:
    """Token ids of ``rows``, padded on the right; int64, ``batch tokens``."""
    length = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), length), pad_id, dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, : len(row.ids)] = torch.tensor(row.ids)
    return ids


def pack(documents: Sequence[Sequence[Row]], pad_id: int) -> PackedRows:
    """The conversations of every document, one after another in one sequence."""
    length = max(sum(len(row.ids) for row in rows) for rows in documents)
    scored = max(sum(last - first for row in rows for first, last in row.replies) for rows in documents)
    ids = torch.full((len(documents), length), pad_id)
    positions = torch.zeros_like(ids)
    labels = torch.full((len(documents), max(1, scored)), IGNORED)
    places, conversations = torch.zeros_like(labels), torch.zeros_like(labels)
    for document, rows in enumerate(documents):
        at = 0
        filled = 0
        for number, row in enumerate(rows):
            ids[document, at : at + len(row.ids)] = torch.tensor(row.ids)
            # Padding stays at 0: a model may have no position for what comes after its longest text.
            positions[document, at : at + len(row.ids)] = torch.arange(len(row.ids))
            for first, last in row.replies:
                there = slice(filled, filled + last - first)
                places[document, there] = torch.arange(at + first - 1, at + last - 1)
                labels[document, there] = ids[document, at + first : at + last]
                conversations[document, there] = number
                filled += last - first
            at += len(row.ids)
    return PackedRows(ids=ids, positions=positions, places=places, labels=labels, conversations=conversations)


def packed_logits(
    model: AdaptedModel, rows: PackedRows, lora: Mapping[str, LoraTensors] | None, *, scaling: float
) -> Tensor:
    """Logits of the packed conversations under the adapters of their documents; ``documents places vocab``.

    Args:
        model: the base model, opened for LoRA tensors.
        rows: the conversations.
        lora: A and B of every target module, one pair a document; the base model alone where there is none.
        scaling: number that multiplies ``B A x``.
    """
    everything = torch.ones_like(rows.ids, dtype=torch.bool)  # causal and padded on the right: nothing to hide
    return model.forward(rows.ids, everything, lora, scaling, places=rows.places, position_ids=rows.positions)
