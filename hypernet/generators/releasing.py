"""Checkpoints of the architectures that nobody trains: the mean of a population, and fine-tuning."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hypernet.checkpoints import DEFAULT_FOLDER
from hypernet.documents import Document
from hypernet.errors import EmptyDocument
from hypernet.generators.generator import Generator
from hypernet.hypernetworks import (
    FinetuneConfig,
    FinetuneHypernetwork,
    Manifest,
    MeanConfig,
    MeanHypernetwork,
    save_checkpoint,
)
from hypernet.models import BaseModel


@torch.no_grad()
def write_mean_checkpoint(
    generator: Generator, documents: Sequence[Document | str], folder: Path, rank: int | None = None
) -> Manifest:
    """A checkpoint whose every adapter is the mean of those that ``generator`` writes for ``documents``.

    The weight updates are averaged, at the generator's own strength: factors cannot be, since the mean of products is
    no product of means. Without ``rank`` the mean is exact, of the rank of the smaller width of the widest module; with
    one it is the nearest of that rank.

    Raises:
        EmptyDocument: there are no documents, or one is blank.
    """
    if not documents:
        raise EmptyDocument("Expected documents to take the mean of, none came.")
    total: dict[str, Tensor] = {}
    for document in documents:
        for name, update in weight_updates(generator, document).items():
            total[name] = total[name] + update if name in total else update
    mean = {name: update / len(documents) for name, update in total.items()}
    return write_mean_of_updates(generator, mean, folder, people=len(documents), rank=rank)


@torch.no_grad()
def weight_updates(generator: Generator, document: Document | str) -> dict[str, Tensor]:
    """What the adapter of ``document``, at the generator's own strength, adds to the weight of every target module:
    float64, ``d_out d_in``.
    """
    (state,) = generator.read([document])
    modules = generator.write(state).folded().modules
    return {name: pair.b.double() @ pair.a.double() for name, pair in modules.items()}


@torch.no_grad()
def write_mean_of_updates(
    generator: Generator,
    updates: Mapping[str, Tensor],
    folder: Path,
    *,
    people: int,
    rank: int | None = None,
    origin: Mapping[str, Any] | None = None,
) -> Manifest:
    """A checkpoint whose every adapter is ``updates``, the mean of `weight_updates` over ``people`` documents; see
    `write_mean_checkpoint` for ``rank``. ``origin`` says how they came to be, in plain values.
    """
    config = generator.hypernetwork.config
    largest = max(min(widths) for widths in zip(config.d_in, config.d_out))
    mean = MeanHypernetwork(
        MeanConfig(
            modules=config.modules,
            d_in=config.d_in,
            d_out=config.d_out,
            bias_rank=min(rank or largest, largest),
            scaling=1.0,
            people=people,
        )
    )
    for name, a, b in zip(config.modules, mean.mean_a, mean.mean_b, strict=True):
        u, sizes, v = torch.linalg.svd(updates[name], full_matrices=False)
        halves = sizes[: len(a)].sqrt()
        a[: len(halves)] = halves[:, None] * v[: len(a)]
        b[:, : len(halves)] = u[:, : len(a)] * halves
    return save_checkpoint(
        mean,
        folder,
        target_modules=generator.signature.target_modules,
        base_model=generator.base.name,
        base_model_digest=generator.base.digest,
        max_document_tokens=generator.max_document_tokens,
        chunk_tokens=generator.chunk_tokens,
        trained_chunks=generator.trained_chunks,
        strength=1.0,
        training={"mean_of": generator.signature.architecture, "digest": generator.digest, "people": people}
        | ({"origin": dict(origin)} if origin else {}),
    )


def write_finetune_checkpoint(
    base: BaseModel,
    folder: Path,
    *,
    target_modules: tuple[str, ...],
    chunk_tokens: int,
    max_document_tokens: int = 16384,
    origin: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Manifest:
    """A checkpoint that learns every document from nothing; ``settings`` are further fields of `FinetuneConfig`.

    ``chunk_tokens`` leaves room in the base model's context for a query and its answer; ``origin`` says, in plain
    values, how the settings were chosen.
    """
    shapes = base.target_shapes(target_modules)
    config = FinetuneConfig(
        modules=tuple(shapes),
        d_in=tuple(d_in for d_in, _ in shapes.values()),
        d_out=tuple(d_out for _, d_out in shapes.values()),
        **settings,
    )
    return save_checkpoint(
        FinetuneHypernetwork(config),
        folder,
        target_modules=target_modules,
        base_model=base.name,
        base_model_digest=base.digest,
        max_document_tokens=max_document_tokens,
        chunk_tokens=chunk_tokens,
        trained_chunks=1,
        strength=1.0,
        training={"origin": dict(origin)} if origin else {},
    )


def write_refining_checkpoint(start: Generator, folder: Path, **settings: Any) -> Manifest:
    """A checkpoint that refines what ``start`` generates; ``settings`` are further fields of `FinetuneConfig`.

    ``folder`` is beside that of ``start``, whose strength becomes part of the scaling: what is learned is learned at
    the strength that it is used at. Raises `ValueError` for a strength of zero.
    """
    config = start.hypernetwork.config
    refining = FinetuneConfig(
        modules=config.modules,
        d_in=config.d_in,
        d_out=config.d_out,
        rank=config.rank,
        bias_rank=config.bias_rank,
        scaling=config.scaling * start.strength,
        start=start.name.partition("/")[2] or DEFAULT_FOLDER,
        start_digest=start.digest,
        **settings,
    )
    return save_checkpoint(
        FinetuneHypernetwork(refining),
        folder,
        target_modules=start.signature.target_modules,
        base_model=start.base.name,
        base_model_digest=start.base.digest,
        max_document_tokens=start.max_document_tokens,
        chunk_tokens=start.chunk_tokens,
        trained_chunks=start.trained_chunks,
        strength=1.0,
        max_rank=start.signature.rank,
        training={},
    )
