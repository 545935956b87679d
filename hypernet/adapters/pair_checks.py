"""What makes a set of LoRA pairs sound, whatever they were read from."""

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.linalg import vector_norm

from hypernet.errors import AdapterInvalid

MAX_UPDATE_NORM = 1e4
"""Largest product of the Frobenius norms of one module's A and B, which bounds the norm of `b @ a`. A whole 4096 x
11008 weight of standard deviation 0.02 has a norm of 134, so no adapter that works comes near."""

_MODULE_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*", re.ASCII)
_MAX_NAME_LENGTH = 256
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def check_pairs(pairs: Mapping[str, tuple[Tensor, Tensor]], *, rank: int | None = None, scaling: float = 1.0) -> int:
    """The rank that all pairs (A `[rank, d_in]`, B `[d_out, rank]`) share.

    Raises: `AdapterInvalid` for no pairs at all, a bad module name, dtype or shape, a rank other than the others' (or
    than `rank`), a value that is not finite, and A and `scaling * B` whose norms multiply to over `MAX_UPDATE_NORM`.
    """
    if not math.isfinite(scaling):
        raise AdapterInvalid(f"An adapter's scaling must be a finite number, it is {scaling}.")
    if not pairs:
        raise AdapterInvalid("The adapter is empty: it must change at least one module.")
    for name, (a, b) in pairs.items():
        if len(name) > _MAX_NAME_LENGTH or not _MODULE_NAME.fullmatch(name):
            raise AdapterInvalid(
                f"A module name must be letters, digits and underscores joined by dots, not {name[:80]!r}."
            )
        if a.dtype not in _DTYPES or b.dtype not in _DTYPES:
            raise AdapterInvalid(
                f"Module {name!r} must be float32, float16 or bfloat16, it is {a.dtype} and {b.dtype}."
            )
        if a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1] or 0 in (*a.shape, *b.shape):
            raise AdapterInvalid(
                f"Module {name!r} must have A of shape [rank, d_in] and B of shape [d_out, rank], "
                f"they are {list(a.shape)} and {list(b.shape)}."
            )
        # As folded: multiplied first, a sound B may pass what float32 holds.
        _check_values(name, a.detach(), b.detach() if scaling == 1.0 else b.detach().float() * scaling)
    ranks = {a.shape[0] for a, _ in pairs.values()}
    shared = min(ranks) if rank is None else rank
    if ranks != {shared}:
        raise AdapterInvalid(
            f"All modules of an adapter must share its rank; here they have {sorted(ranks | {shared})}."
        )
    return shared


def _check_values(name: str, a: Tensor, b: Tensor) -> None:
    # Two reductions and no matrix product, which a thread pool would make wait for cores that other work is using.
    bound = float(vector_norm(a, dtype=torch.float32)) * float(vector_norm(b, dtype=torch.float32))
    if bound <= MAX_UPDATE_NORM:
        return
    if not (torch.isfinite(a).all() and torch.isfinite(b).all()):
        raise AdapterInvalid(f"Module {name!r} holds values that are not finite numbers.")
    raise AdapterInvalid(
        f"Module {name!r} changes its layer by a norm of up to {bound:.3g}, at most {MAX_UPDATE_NORM:.3g} is allowed; "
        "such an adapter would drown the base model."
    )
