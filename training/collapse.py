"""Signs that a hypernetwork writes everybody the same adapter."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from hypernet.hypernetworks.hypernetwork import Pairs


class Updates(NamedTuple):
    """What a training or validation step hands to whoever watches it.

    Attributes:
        pairs: the adapters of the batch's documents.
        common_ranks: how many of their ranks, the last ones, are the same for every document.
    """

    pairs: Pairs
    common_ranks: int

    def of_documents(self) -> Pairs:
        """The pairs without the common ranks."""
        if not self.common_ranks:
            return self.pairs
        own = slice(None, -self.common_ranks)
        return {name: (a[:, own], b[:, :, own]) for name, (a, b) in self.pairs.items()}


def update_cosines(pairs: Pairs) -> Float[Tensor, "documents documents"]:
    """Cosine of the weight updates of every two documents, all target modules taken as one vector; NaN where one of
    them changes nothing.

    No update is ever written out: ``<B1 A1, B2 A2> = tr(A1^T B1^T B2 A2) = tr((A1 A2^T)^T (B1^T B2))``, the sum of the
    products of two small matrices of ``rank`` by ``rank``.
    """
    gram: Tensor | float = 0.0
    for a, b in pairs.values():
        documents, rank = a.shape[:2]
        rows, columns = a.float().flatten(0, 1), b.float().mT.flatten(0, 1)
        inner = (rows @ rows.mT) * (columns @ columns.mT)
        gram = gram + inner.view(documents, rank, documents, rank).sum((1, 3))
    if isinstance(gram, float):
        raise ValueError("Expected the pairs of at least one target module, got none.")
    norms = gram.diagonal().clamp_min(0.0).sqrt()
    return gram / (norms[:, None] * norms)


def mean_cosine(pairs: Pairs) -> float:
    """Mean of `update_cosines` over every two different documents: 1 if all updates are alike, about 0 if they have
    nothing to do with each other. NaN for one document, and where nothing is changed.
    """
    cosines = update_cosines(pairs).detach()
    documents = cosines.shape[0]
    if documents < 2:
        return float("nan")
    return float((cosines.sum() - cosines.diagonal().sum()) / (documents * (documents - 1)))


def mean_adapter(pairs: Pairs) -> Pairs:
    """The adapter whose update is the mean of those of the batch, once for every document of the batch.

    Its rank is that of all documents together or, if that is less, the smaller width of the layer.
    """
    found = {}
    for name, (a, b) in pairs.items():
        documents, rank, d_in = a.shape
        d_out = b.shape[1]
        if documents * rank <= min(d_in, d_out):
            mean_a, mean_b = a.flatten(0, 1), b.permute(1, 0, 2).flatten(1) / documents
        else:
            update = torch.einsum("nor,nri->oi", b, a) / documents
            narrow = torch.eye(min(d_in, d_out), dtype=a.dtype, device=a.device)
            mean_a, mean_b = (narrow, update) if d_in <= d_out else (update, narrow)
        found[name] = (mean_a.expand(documents, -1, -1), mean_b.expand(documents, -1, -1))
    return found
