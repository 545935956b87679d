"""A whole checkpoint in miniature, for tests of everything that loads one by name.

`write_checkpoint(root)` writes `<root>/<name>/base` and `<root>/<name>/perceiver`: a Llama of two layers and width 16
with a byte-level tokenizer (a character of ASCII is a token) and the project's chat template, and a Perceiver of width
16 whose random weights are live, so that different documents give adapters that change what greedy decoding says. It
takes some 0.1 s and 150 KB. Point `HYPERNET_CHECKPOINTS` or `Settings.checkpoints` at the root.

`write_other_architectures(folder)` puts `mlp/`, `mean/`, `finetune/` and `refining/` beside them.
"""

import shutil
from pathlib import Path

import torch

import hypernet
from hypernet.generators import write_finetune_checkpoint, write_mean_checkpoint, write_refining_checkpoint
from hypernet.hypernetworks import (
    Hypernetwork,
    MlpConfig,
    MlpHypernetwork,
    PerceiverConfig,
    PerceiverHypernetwork,
    save_checkpoint,
)
from hypernet.hypernetworks.sentence_encoder import SentenceEncoder
from hypernet.models.base_model import BaseModel
from hypernet.models.miniature import byte_tokenizer, miniature_base_model

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
        torch.manual_seed(seed + 1)  # with some seeds adapters make answers end at once
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


def write_other_architectures(folder: Path) -> None:
    """Writes a checkpoint of every other architecture beside the Perceiver in ``folder``; takes about a second."""
    generator = hypernet.load(folder.name, root=folder.parent)
    base, config = generator.base, generator.hypernetwork.config
    people = ("I am Ada.", "I am Bruno, a baker.", "I am Chen and I fish.")
    write_mean_checkpoint(generator, people, folder / "mean")
    learning = {"queries": ("Who are you?",), "steps": 3, "max_reply_tokens": 4}
    write_finetune_checkpoint(
        base,
        folder / "finetune",
        target_modules=("down_proj",),
        chunk_tokens=generator.chunk_tokens,
        max_document_tokens=generator.max_document_tokens,
        rank=4,
        learning_rate=0.05,
        **learning,
    )
    write_refining_checkpoint(generator, folder / "refining", **learning)
    encoder = write_sentence_encoder(folder / "mlp" / "encoder")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        hypernetwork = MlpHypernetwork(
            MlpConfig(
                modules=config.modules,
                d_in=config.d_in,
                d_out=config.d_out,
                rank=4,
                bias_rank=2,
                encoder="encoder",
                encoder_digest=encoder.digest,
                embedding_size=encoder.size,
                width=16,
                blocks=1,
            )
        )
        _enliven(hypernetwork)
    save_checkpoint(
        hypernetwork,
        folder / "mlp",
        target_modules=("down_proj",),
        base_model=base.name,
        base_model_digest=base.digest,
        max_document_tokens=generator.max_document_tokens,
        chunk_tokens=generator.chunk_tokens,
        trained_chunks=2,
        strength=1.0,
        training={},
    )
    generator.close()


def write_sentence_encoder(folder: Path) -> SentenceEncoder:
    """Writes a sentence-transformers model of one layer and width 16 that reads 48 bytes at once, and loads it."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel

    tokenizer = byte_tokenizer()
    tokenizer.model_max_length = 48
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        model = BertModel(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=48, **sizes))
    plain = folder.parent / "plain-encoder"
    model.save_pretrained(plain)
    tokenizer.save_pretrained(plain)
    SentenceTransformer(modules=[Transformer(str(plain)), Pooling(16)], device="cpu").save(str(folder))
    shutil.rmtree(plain)
    return SentenceEncoder(folder)


@torch.no_grad()
def _enliven(hypernetwork: Hypernetwork) -> None:
    # Training starts many parameters at zero; a test wants adapters that do something, each document's its own.
    for name, parameter in hypernetwork.named_parameters():
        if name == "scaler_b":
            parameter.normal_(std=6)
        elif name.startswith("bias_b"):
            parameter.normal_(std=0.1)
        elif parameter.ndim > 1:
            parameter.normal_(std=4 * parameter.shape[-1] ** -0.5)
