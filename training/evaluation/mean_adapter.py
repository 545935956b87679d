"""The mean adapter of many people: what a generator that ignores its document would write."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from hypernet.adapters import Adapter, LoraPair


def mean_adapter(adapters: Sequence[Adapter]) -> Adapter:
    """An adapter whose weight update is exactly the mean of the updates of ``adapters``, of as low a rank as that
    takes.

    Factors cannot be averaged one by one: the mean of products is not the product of means. The update is averaged,
    then factored through its smaller side, which loses nothing. All adapters have the same modules.
    """
    folded = [adapter.folded() for adapter in adapters]
    pairs = {}
    for name in folded[0].modules:
        update = torch.stack([adapter.modules[name].b @ adapter.modules[name].a for adapter in folded]).mean(0)
        d_out, d_in = update.shape
        eye = torch.eye(min(d_out, d_in))
        pairs[name] = LoraPair(a=update, b=eye) if d_out <= d_in else LoraPair(a=eye, b=update)
    rank = next(iter(pairs.values())).a.shape[0]
    provenance = replace(folded[0].provenance, document_digest="mean", options={"people": len(folded)})
    return Adapter(modules=pairs, rank=rank, scaling=1.0, provenance=provenance)
