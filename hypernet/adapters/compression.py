"""Re-factoring an adapter to a lower rank."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from hypernet.adapters.adapter import Adapter, LoraPair


def compress(adapter: Adapter, rank: int) -> Adapter:
    """The adapter of at most ``rank`` whose update of every module's weight is nearest to that of ``adapter``.

    Nearest in the Frobenius norm: the error is the root of the sum of the squares of the singular values left out,
    and the exact update comes back where ``rank`` is no less than the smaller width of a module. An adapter of no more
    than ``rank`` is returned as it is. Scaling and provenance stay. Worked out in float64 without ever forming a weight
    update: QR of both factors, then SVD of the small core between them.

    Source: Eckart and Young, "The approximation of one matrix by another of lower rank", Psychometrika 1, 1936.

    Raises:
        ValueError: ``rank`` is below 1.
    """
    if rank < 1:
        raise ValueError(f"an adapter has a rank of at least 1, {rank} was asked for")
    if adapter.rank <= rank:
        return adapter
    modules = {name: LoraPair(**_compressed(pair.a, pair.b, rank)) for name, pair in adapter.modules.items()}
    return replace(adapter, modules=modules, rank=rank)


@torch.no_grad()
def _compressed(a: Float[Tensor, "rank d_in"], b: Float[Tensor, "d_out rank"], rank: int) -> dict[str, Tensor]:
    left, left_core = torch.linalg.qr(b.double())
    right, right_core = torch.linalg.qr(a.double().mT)
    u, sizes, v = torch.linalg.svd(left_core @ right_core.mT, full_matrices=False)
    # Half of every singular value to each side, so that neither factor has a scale that rounding would feel.
    halves = sizes[:rank].sqrt()
    kept = len(halves)
    new_a, new_b = a.new_zeros(rank, a.shape[1]), b.new_zeros(b.shape[0], rank)
    new_a[:kept] = (halves[:, None] * v[:rank] @ right.mT).to(a.dtype)
    new_b[:, :kept] = (left @ u[:, :rank] * halves).to(b.dtype)
    return {"a": new_a, "b": new_b}
