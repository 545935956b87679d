"""The MLP hypernetwork: a sentence embedding of a chunk in, one LoRA pair for every target module out."""

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from hypernet.errors import CheckpointMismatch
from hypernet.hypernetworks.blocks import GatedMlp
from hypernet.hypernetworks.hypernetwork import Chunks, Encode, Features, Hypernetwork, HypernetworkConfig, Pairs
from hypernet.hypernetworks.sentence_encoder import SentenceEncoder, find_encoder
from hypernet.models import BaseModel


@dataclass(frozen=True, kw_only=True)
class MlpConfig(HypernetworkConfig):
    """Sizes of an MLP hypernetwork, and what it reads through.

    Attributes:
        encoder: the sentence-transformers model, as `find_encoder` knows it.
        encoder_digest: revision of that model: `SentenceEncoder.digest`.
        embedding_size: length of its vectors.
        width: width of the MLP.
        blocks: residual blocks of the MLP.
        mlp_ratio: inner width of a block over ``width``.
    """

    encoder: str
    encoder_digest: str
    embedding_size: int
    width: int = 256
    blocks: int = 3
    mlp_ratio: int = 3

    def __post_init__(self) -> None:
        """Raises `ValueError` for sizes that make no MLP."""
        super().__post_init__()
        if min(self.embedding_size, self.width, self.mlp_ratio) < 1 or self.blocks < 0:
            raise ValueError("embedding_size, width and mlp_ratio must be at least 1, blocks at least 0")


class MlpHypernetwork(Hypernetwork):
    """Reads one sentence embedding of a chunk and writes the LoRA pairs that stand for it.

    For every target module one MLP, shared by all, sees the embedding, a learned vector for the layer that the module
    is in and one for which module of a layer it is. Modules of one kind share a head, which gives all rows of A and
    columns of B at once. Rows, columns and their scalers are in the Perceiver's gauge: B starts at zero.

    A sentence embedding carries manner and theme and hardly a name or number: this is the architecture to compare with,
    not the one to serve.

    Source: "Profile-to-PEFT", arXiv 2510.16282 (an MLP on a profile's embedding, layer and module embeddings).
    """

    config: MlpConfig

    def __init__(self, config: MlpConfig) -> None:
        super().__init__()
        self.config = config
        self._encoder: SentenceEncoder | None = None
        layers = [_layer(name) for name in config.modules]
        kinds = [_kind(*module) for module in zip(config.modules, config.d_in, config.d_out)]
        self._layers = _numbers(layers)
        self._kinds = _numbers(kinds)
        width, modules = config.width, len(config.modules)
        self.embedding_norm = nn.RMSNorm(config.embedding_size)
        self.embedding_in = nn.Linear(config.embedding_size, width, bias=False)
        self.layer_places = nn.Parameter(torch.randn(len(set(layers)), width))
        self.module_places = nn.Parameter(torch.randn(len(set(kinds)), width))
        self.blocks = nn.ModuleList(GatedMlp(width, ratio=config.mlp_ratio) for _ in range(config.blocks))
        self.heads = nn.ParameterList(
            torch.randn(width, config.rank * (d_in + d_out)) for _, d_in, d_out in dict.fromkeys(kinds)
        )
        self.scaler_a = nn.Parameter(torch.ones(modules, config.rank))
        self.scaler_b = nn.Parameter(torch.zeros(modules, config.rank))
        self.bias_a = nn.ParameterList(torch.randn(config.bias_rank, d_in) * d_in**-0.5 for d_in in config.d_in)
        self.bias_b = nn.ParameterList(torch.zeros(d_out, config.bias_rank) for d_out in config.d_out)

    def attach(self, folder: Path, *, device: str | torch.device) -> None:
        """Loads the sentence encoder, looked for from ``folder`` on.

        Raises:
            CheckpointNotFound: it is not here, or sentence-transformers is not installed.
            CheckpointInvalid: it cannot be read.
            CheckpointMismatch: it is another revision than the one that the hypernetwork was trained with.
        """
        self._use(SentenceEncoder(find_encoder(self.config.encoder, beside=folder), device=device))

    def features(self, base: BaseModel, chunks: Chunks, *, encode: Encode | None = None) -> Features:
        """The sentence embedding of each chunk: ``chunks embedding``. Neither ``base`` nor ``encode`` has a part in it.

        Raises: as ``attach``, which is done now where it has not been.
        """
        device = self.scaler_a.device
        encoder = self._encoder or self._use(SentenceEncoder(find_encoder(self.config.encoder), device=device))
        values = encoder.embed(chunks.texts, together=self.training).to(device)
        return Features(values=values, mask=torch.ones(len(values), 1, dtype=torch.bool, device=values.device))

    def forward(self, features: Features) -> Pairs:
        """A and B of every target module for each chunk; see the base class."""
        states = self._think(features.values)
        config = self.config
        pairs = {}
        for index, (name, d_in, d_out) in enumerate(zip(config.modules, config.d_in, config.d_out, strict=True)):
            head = self.heads[self._kinds[index]]
            direction = functional.normalize(states[:, index].float(), dim=-1).to(states.dtype)
            rows = (direction @ head.to(states.dtype)).float().unflatten(-1, (config.rank, d_in + d_out))
            a = rows[..., :d_in] * (self.scaler_a[index] * d_in**-0.5)[:, None]
            b = rows[..., d_in:] * (self.scaler_b[index] * d_out**-0.5)[:, None]
            pairs[name] = (a, b.mT)
        return pairs

    def common(self) -> Pairs:
        """The bias adapter."""
        return {
            name: (a[None], b[None]) for name, a, b in zip(self.config.modules, self.bias_a, self.bias_b, strict=True)
        }

    def _think(self, embeddings: Float[Tensor, "chunks embedding"]) -> Float[Tensor, "chunks modules width"]:
        places = self.layer_places[self._layers] + self.module_places[self._kinds]
        states = self.embedding_in(self.embedding_norm(embeddings))[:, None] + places
        for block in self.blocks:
            states = states + block(states)
        return states

    def _use(self, encoder: SentenceEncoder) -> SentenceEncoder:
        config = self.config
        if (encoder.digest, encoder.size) != (config.encoder_digest, config.embedding_size):
            raise CheckpointMismatch(
                f"The hypernetwork was trained with the sentence encoder {config.encoder} of digest "
                f"{config.encoder_digest[:16]}… and vectors of {config.embedding_size} numbers, the one found has "
                f"{encoder.digest[:16]}… and {encoder.size}. Use the encoder that it was trained with."
            )
        self._encoder = encoder
        return encoder


def _layer(name: str) -> str:
    """Which layer a module is in: the numbers in its name."""
    return ".".join(re.findall(r"(?<=\.)\d+(?=\.)", name))


def _kind(name: str, d_in: int, d_out: int) -> tuple[str, int, int]:
    """Which module of a layer it is: its name without numbers, and its widths."""
    return re.sub(r"(?<=\.)\d+(?=\.)", "*", name), d_in, d_out


def _numbers(values: list[str] | list[tuple[str, int, int]]) -> list[int]:
    """The place of each among those that differ."""
    places = {value: place for place, value in enumerate(dict.fromkeys(values))}
    return [places[value] for value in values]
