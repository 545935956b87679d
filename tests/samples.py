"""Small real values that tests of many parts need."""

from typing import Any

import torch

from hypernet.adapters import Adapter, LoraPair, Provenance


def sample_provenance(**changes: Any) -> Provenance:
    """A provenance; `changes` replace its fields."""
    fields = {
        "base_model": "tiny",
        "base_model_digest": "b" * 64,
        "hypernetwork": "tiny",
        "hypernetwork_digest": "c" * 64,
        "document_digest": "d" * 64,
        "options": {"rank": 2},
    }
    return Provenance(**(fields | changes))


def sample_adapter(
    seed: int = 0,
    *,
    modules: tuple[str, ...] = ("model.layers.0.mlp.down_proj", "model.layers.1.mlp.down_proj"),
    rank: int = 2,
    d_in: int = 6,
    d_out: int = 4,
    scaling: float = 1.0,
    dtype: torch.dtype = torch.float32,
    provenance: Provenance | None = None,
) -> Adapter:
    """A sound adapter with random values; another one for every seed."""
    generator = torch.Generator().manual_seed(seed)
    pairs = {
        name: LoraPair(
            a=torch.randn(rank, d_in, generator=generator).to(dtype),
            b=torch.randn(d_out, rank, generator=generator).to(dtype),
        )
        for name in modules
    }
    return Adapter(modules=pairs, rank=rank, scaling=scaling, provenance=provenance or sample_provenance())
