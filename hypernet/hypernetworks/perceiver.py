"""The Perceiver hypernetwork: the hidden states of a chunk in, one LoRA pair for every target module out."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from hypernet.hypernetworks.blocks import Attention, GatedMlp, TokenMixer
from hypernet.hypernetworks.hypernetwork import Chunks, Encode, Features, Hypernetwork, HypernetworkConfig, Pairs
from hypernet.models import BaseModel


@dataclass(frozen=True, kw_only=True)
class PerceiverConfig(HypernetworkConfig):
    """Sizes of a Perceiver hypernetwork and of the adapters that it writes.

    Attributes:
        feature_layers: how many hidden states a token has: one entering each decoder layer of the base model.
        feature_size: width of the base model.
        width: width of the Perceiver.
        heads: attention heads.
        blocks: Perceiver blocks: cross-attention, self-attention among the latents, MLP.
        mixers: blocks that mix document tokens in both directions before the latents read them.
        mlp_ratio: inner width of the MLPs over ``width``.
        shared_latents: whether all target modules are written from the same latents, one for each rank, through heads
            of their own; otherwise every target module has its own latents.
        gated: whether a latent decides how much of its rank is written, so that a chunk that says nothing of
            consequence can write nothing.
    """

    feature_layers: int
    feature_size: int
    width: int = 256
    heads: int = 4
    blocks: int = 3
    mixers: int = 1
    mlp_ratio: int = 3
    shared_latents: bool = False
    gated: bool = True

    def __post_init__(self) -> None:
        """Raises `ValueError` for sizes that make no Perceiver."""
        super().__post_init__()
        if self.heads < 1 or self.width < 1 or self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, it is {self.width} for {self.heads} heads")


class PerceiverBlock(nn.Module):
    """Latents read the document, talk to each other, and think."""

    def __init__(self, config: PerceiverConfig) -> None:
        super().__init__()
        self.cross = Attention(config.width, heads=config.heads)
        self.own = Attention(config.width, heads=config.heads)
        self.mlp = GatedMlp(config.width, ratio=config.mlp_ratio)

    def forward(
        self,
        latents: Float[Tensor, "batch latents width"],
        tokens: Float[Tensor, "batch tokens width"],
        mask: Bool[Tensor, "batch tokens"],
    ) -> Float[Tensor, "batch latents width"]:
        """The latents after one round."""
        latents = latents + self.cross(latents, tokens, mask)
        latents = latents + self.own(latents, latents, None)
        return latents + self.mlp(latents)


class PerceiverHypernetwork(Hypernetwork):
    """Reads the hidden states of a chunk and writes the LoRA pairs that stand for it.

    A token's features are the hidden states entering every layer of the base model, each normalised and projected, then
    summed; one or more token mixers let a word see what comes after it, which a causal base model cannot. Learned
    latents, one for each rank of each target module, cross-attend to the tokens and to each other. A latent,
    normalised to unit length and read by a bias-free head, gives one row of A and one column of B, times a gate between
    0 and 2. B's scaler starts at zero, so an untrained hypernetwork writes adapters that change nothing, while A is
    live.

    Rows of A and columns of B have about unit norm before their scalers: Doc-to-LoRA's small head with a large fixed
    scaling, in another gauge, which lets one learning rate fit head and body. The gate is ours: a latent of unit length
    cannot write little, so without it a chunk of no consequence is felt.

    Source: Charakorn et al., "Doc-to-LoRA", arXiv 2602.15902 (latents, zero start, scalers, bias adapter, chunks joined
    on the rank axis); Jaegle et al., "Perceiver IO", arXiv 2107.14795.
    """

    config: PerceiverConfig

    def __init__(self, config: PerceiverConfig) -> None:
        super().__init__()
        self.config = config
        modules, width = len(config.modules), config.width
        self.feature_norm = nn.ModuleList(nn.RMSNorm(config.feature_size) for _ in range(config.feature_layers))
        self.feature_in = nn.ModuleList(
            nn.Linear(config.feature_size, width, bias=False) for _ in range(config.feature_layers)
        )
        self.mixers = nn.ModuleList(
            TokenMixer(width, heads=config.heads, mlp_ratio=config.mlp_ratio) for _ in range(config.mixers)
        )
        self.latents = nn.Parameter(torch.randn((1 if config.shared_latents else modules) * config.rank, width))
        self.blocks = nn.ModuleList(PerceiverBlock(config) for _ in range(config.blocks))
        self.heads = nn.ParameterList(
            torch.randn(width, d_in + d_out) for d_in, d_out in zip(config.d_in, config.d_out, strict=True)
        )
        self.gate = nn.Parameter(torch.zeros(modules, width)) if config.gated else None
        self.scaler_a = nn.Parameter(torch.ones(modules, config.rank))
        self.scaler_b = nn.Parameter(torch.zeros(modules, config.rank))
        self.bias_a = nn.ParameterList(torch.randn(config.bias_rank, d_in) * d_in**-0.5 for d_in in config.d_in)
        self.bias_b = nn.ParameterList(torch.zeros(d_out, config.bias_rank) for d_out in config.d_out)

    def features(self, base: BaseModel, chunks: Chunks, *, encode: Encode | None = None) -> Features:
        """The hidden state of every token of ``chunks``, entering each layer: ``layers chunks tokens hidden``."""
        if encode is None:
            return Features(values=base.encode(chunks.ids, chunks.mask), mask=chunks.mask)
        lengths = chunks.mask.sum(1).tolist()
        each = encode([ids[:length] for ids, length in zip(chunks.ids.tolist(), lengths, strict=True)])
        longest = chunks.ids.shape[1]
        values = torch.stack([functional.pad(states, (0, 0, 0, longest - states.shape[1])) for states in each], dim=1)
        return Features(values=values, mask=chunks.mask)

    def forward(self, features: Features) -> Pairs:
        """A and B of every target module for each chunk; see the base class."""
        tokens = self._read(features.values, features.mask)
        latents = self.latents.to(tokens.dtype).expand(tokens.shape[0], -1, -1)
        for block in self.blocks:
            latents = block(latents, tokens, features.mask)
        return self._write(latents)

    def common(self) -> Pairs:
        """The bias adapter."""
        return {
            name: (a[None], b[None]) for name, a, b in zip(self.config.modules, self.bias_a, self.bias_b, strict=True)
        }

    def _read(
        self, features: Float[Tensor, "layers chunks tokens feature"], mask: Bool[Tensor, "chunks tokens"]
    ) -> Float[Tensor, "chunks tokens width"]:
        projected = [
            project(norm(layer))
            for project, norm, layer in zip(self.feature_in, self.feature_norm, features, strict=True)
        ]
        tokens = torch.stack(projected).sum(0) * len(projected) ** -0.5
        for mixer in self.mixers:
            tokens = mixer(tokens, mask)
        return tokens

    def _write(self, latents: Float[Tensor, "chunks latents width"]) -> Pairs:
        config = self.config
        directions = functional.normalize(latents.float(), dim=-1)
        directions = directions.view(latents.shape[0], -1, config.rank, config.width)
        pairs = {}
        for index, (name, d_in, d_out) in enumerate(zip(config.modules, config.d_in, config.d_out, strict=True)):
            own = directions[:, 0 if config.shared_latents else index]
            rows = (own.to(latents.dtype) @ self.heads[index].to(latents.dtype)).float()
            a = rows[..., :d_in] * (self.scaler_a[index] * d_in**-0.5)[:, None]
            b = rows[..., d_in:] * (self.scaler_b[index] * d_out**-0.5)[:, None]
            if self.gate is not None:
                # Directions have entries of about width ** -0.5; the factor brings the gate's input to unit size.
                opening = own @ self.gate[index] * config.width**0.5
                b = b * (2.0 * torch.sigmoid(opening))[..., None]
            pairs[name] = (a, b.mT)
        return pairs
