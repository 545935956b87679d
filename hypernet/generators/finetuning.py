"""An adapter by ordinary LoRA training: the oracle that generated ones are held against."""

from collections.abc import Sequence

import torch

from hypernet.adapters import Adapter, LoraPair, Provenance
from hypernet.models import BaseModel
from hypernet.models.fitting import Example, Teacher, distil, fit, recital

__all__ = ["Example", "Teacher", "distil", "finetune", "recital"]


def finetune(
    base: BaseModel,
    examples: Sequence[Example],
    *,
    target_modules: Sequence[str],
    rank: int,
    scaling: float,
    steps: int,
    learning_rate: float,
    seed: int,
    start: Adapter | None = None,
    batch_examples: int = 8,
) -> Adapter:
    """An adapter fitted to ``examples`` by some steps of AdamW; on a CPU the same arguments give the same bits.

    Args:
        base: the frozen base model.
        examples: what to say after what; `distil` makes some from a document.
        target_modules: last parts of the names of the linear layers to adapt.
        rank: of the adapter.
        scaling: what ``B A x`` is multiplied by.
        steps: of the optimiser.
        learning_rate: at the first step; it falls linearly to zero.
        seed: of the first A, and of the order of the examples.
        start: an adapter to go on from, such as a generated one, with the same modules and rank.
        batch_examples: examples that one step sees.

    Raises:
        ValueError: there are no examples, or ``start`` has other modules or another rank.
    """
    shapes = base.target_shapes(target_modules)
    if start is None:
        random = torch.Generator().manual_seed(seed)
        factors = {
            name: (torch.randn(rank, d_in, generator=random) * d_in**-0.5, torch.zeros(d_out, rank))
            for name, (d_in, d_out) in shapes.items()
        }
    else:
        if start.rank != rank or set(start.modules) != set(shapes):
            raise ValueError(f"the adapter to start from has rank {start.rank} and {len(start.modules)} modules")
        folded = start.folded().modules
        factors = {name: (folded[name].a, folded[name].b / scaling) for name in shapes}
    fitted = fit(
        base,
        examples,
        factors,
        scaling=scaling,
        steps=steps,
        learning_rate=learning_rate,
        seed=seed,
        batch_examples=batch_examples,
    )
    return Adapter(
        modules={name: LoraPair(a=a.cpu(), b=b.cpu()) for name, (a, b) in fitted.items()},
        rank=rank,
        scaling=scaling,
        provenance=Provenance(
            base_model=base.name,
            base_model_digest=base.digest,
            hypernetwork="none",
            hypernetwork_digest="none",
            document_digest="none" if start is None else start.provenance.document_digest,
            options={
                "examples": len(examples),
                "steps": steps,
                "learning_rate": learning_rate,
                "seed": seed,
                "start": None if start is None else start.digest,
            },
        ),
    )
