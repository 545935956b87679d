"""Attention whose result for a row does not depend on where in the batch the row stands."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from hypernet.models.base_model import BaseModel

ROW_ATTENTION = "hypernet_rows"
"""Name under which transformers knows `row_attention`."""


def row_attention(
    module: nn.Module,
    query: Float[Tensor, "rows heads queries width"],
    key: Float[Tensor, "rows kv_heads keys width"],
    value: Float[Tensor, "rows kv_heads keys value_width"],
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Float[Tensor, "rows queries heads value_width"], None]:
    """Scaled dot-product attention; for one query a row, under a mask to be added, by plain matrix products.

    PyTorch's CPU kernel gives a row in a one-query batch other last bits on another thread, because its scratch memory
    for one query is not aligned in every thread. Matrix products and softmax do not, in any batch size, for keys padded
    with masked positions to a multiple of `KEY_TILE`, as long as what is masked is finite. Everything else goes to
    PyTorch's kernel.
    """
    if query.shape[2] != 1 or attention_mask is None or attention_mask.dtype == torch.bool:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)
    rows, heads, _, width = query.shape
    shared = heads // key.shape[1]
    grouped = query.reshape(rows, key.shape[1], shared, width)
    scale = width**-0.5 if scaling is None else scaling
    # Query heads that share a key head could be one product, but from four queries on the kernel adds up the keys in
    # another order for some numbers of keys. One at a time, it takes them as they come.
    mixed = [_attend(grouped[:, :, index, None], key, value, attention_mask, scale) for index in range(shared)]
    whole = mixed[0] if shared == 1 else torch.cat(mixed, 2)
    return whole.reshape(rows, 1, heads, value.shape[3]), None


def _attend(
    query: Float[Tensor, "rows kv_heads 1 width"],
    key: Float[Tensor, "rows kv_heads keys width"],
    value: Float[Tensor, "rows kv_heads keys value_width"],
    bias: Float[Tensor, "rows 1 1 keys"],
    scale: float,
) -> Float[Tensor, "rows kv_heads 1 value_width"]:
    scores = torch.matmul(query, key.transpose(2, 3)).mul_(scale).add_(bias)
    return torch.matmul(torch.softmax(scores, -1), value)


def use_row_attention(base: BaseModel) -> Callable[[], None]:
    """Make the base model attend by `row_attention`; returns what undoes it."""
    AttentionInterface.register(ROW_ATTENTION, row_attention)
    AttentionMaskInterface.register(ROW_ATTENTION, sdpa_mask)
    before = base.module.config._attn_implementation
    base.module.set_attn_implementation(ROW_ATTENTION)

    def undo() -> None:
        base.module.set_attn_implementation(before)

    return undo
