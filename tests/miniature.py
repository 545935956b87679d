"""A whole checkpoint in miniature, for tests of everything that loads one by name.

`write_checkpoint(root)` writes `<root>/<name>/base` and `<root>/<name>/perceiver`: a Llama of two layers and width 16
with a byte-level tokenizer (a character of ASCII is a token) and the project's chat template, and a Perceiver of width
16 whose random weights are live, so that different documents give adapters that change what greedy decoding says. It
takes some 0.1 s and 150 KB. Point `HYPERNET_CHECKPOINTS` or `Settings.checkpoints` at the root.
"""

from pathlib import Path

import torch

from hypernet.hypernetworks import PerceiverConfig, PerceiverHypernetwork, save_checkpoint
from hypernet.models.base_model import BaseModel
from hypernet.models.miniature import miniature_base_model

NAME = "miniature"
MAX_DOCUMENT_TOKENS = 400
CHUNK_TOKENS = 1024


def write_checkpoint(
    root: Path,
    *,
    name: str = NAME,
    seed: int = 0,
    max_document_tokens: int = MAX_DOCUMENT_TOKENS,
    chunk_tokens: int = CHUNK_TOKENS,
    live: bool = True,
) -> Path:
    """Writes the checkpoint and returns its folder; the same bytes for the same seed.

    A document of up to ``chunk_tokens`` is read at once; the base model's context is 1,024 tokens.
    With `live` false the hypernetwork is as it is before training: its adapters change nothing.
    """
    folder = root / name
    shell = miniature_base_model(seed=seed, max_position_embeddings=1024)
    shell.module.save_pretrained(folder / "base")
    shell.tokenizer.save_pretrained(folder / "base")
    shell.close()
    base = BaseModel.load(folder / "base", name=name)
    shapes = base.target_shapes(["down_proj"])
    d_in, d_out = zip(*shapes.values(), strict=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        hypernetwork = PerceiverHypernetwork(
            PerceiverConfig(
                modules=tuple(shapes),
                d_in=tuple(d_in),
                d_out=tuple(d_out),
                feature_layers=base.num_layers,
                feature_size=base.hidden_size,
                width=16,
                heads=2,
                blocks=1,
                mixers=1,
                mlp_ratio=2,
                rank=4,
                bias_rank=2,
            )
        )
        if live:
            _enliven(hypernetwork)
    save_checkpoint(
        hypernetwork,
        folder / "perceiver",
        target_modules=("down_proj",),
        base_model=name,
        base_model_digest=base.digest,
        max_document_tokens=max_document_tokens,
        chunk_tokens=chunk_tokens,
        trained_chunks=2,
        strength=1.0,
        training={},
    )
    base.close()
    return folder


@torch.no_grad()
def _enliven(hypernetwork: PerceiverHypernetwork) -> None:
    # Training starts many parameters at zero; a test wants adapters that do something, each document's its own.
    for parameter in hypernetwork.parameters():
        if parameter.ndim > 1:
            parameter.normal_(std=4 * parameter.shape[-1] ** -0.5)
    hypernetwork.scaler_b.normal_(std=6)
    for common in hypernetwork.bias_b:
        common.normal_(std=0.1)
