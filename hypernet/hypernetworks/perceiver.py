"""The Perceiver hypernetwork: the hidden states of a document in, one LoRA pair for every target module out."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from hypernet.hypernetworks.blocks import Attention, GatedMlp, TokenMixer


@dataclass(frozen=True, kw_only=True)
class PerceiverConfig:
    """Sizes of a Perceiver hypernetwork and of the adapters that it writes.

    Attributes:
        modules: full names of the target modules, in layer order.
        d_in: input width of the target modules; all alike.
        d_out: output width of the target modules; all alike.
        feature_layers: how many hidden states a token has: one entering each decoder layer of the base model.
        feature_size: width of the base model.
        width: width of the Perceiver.
        heads: attention heads.
        blocks: Perceiver blocks: cross-attention, self-attention among the latents, MLP.
        mixers: blocks that mix document tokens in both directions before the latents read them.
        mlp_ratio: inner width of the MLPs over ``width``.
        rank: ranks that depend on the document; one latent each.
        bias_rank: further ranks that are the same for every document.
        scaling: number that multiplies ``B A x``. A power of two, so that folding it into B is exact.
    """

    modules: tuple[str, ...]
    d_in: int
    d_out: int
    feature_layers: int
    feature_size: int
    width: int = 256
    heads: int = 4
    blocks: int = 3
    mixers: int = 1
    mlp_ratio: int = 3
    rank: int = 24
    bias_rank: int = 8
    scaling: float = 4.0

    def __post_init__(self) -> None:
        """Raises `ValueError` for sizes that make no Perceiver."""
        if self.heads < 1 or self.width < 1 or self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, it is {self.width} for {self.heads} heads")
        if not 0 < self.scaling < math.inf:
            raise ValueError(f"scaling must be a positive number, it is {self.scaling}")

    @property
    def total_rank(self) -> int:
        """Rank of the adapters: the document's and the common ones."""
        return self.rank + self.bias_rank


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


class PerceiverHypernetwork(nn.Module):
    """Reads the hidden states of a document and writes the adapter that stands for it.

    A token's features are the hidden states entering every layer of the base model, each normalised and projected, then
    summed; one or more token mixers let a word see what comes after it, which a causal base model cannot. Learned
    latents, one for each rank of each target module, cross-attend to the tokens and to each other. A latent,
    normalised to unit length and read by a bias-free head, gives one row of A and one column of B. B's scaler starts
    at zero, so an untrained hypernetwork writes adapters that change nothing, while A is live.

    Rows of A and columns of B have about unit norm before their scalers: Doc-to-LoRA's small head with a large fixed
    scaling, in another gauge, which lets one learning rate fit head and body.

    Source: Charakorn et al., "Doc-to-LoRA", arXiv 2602.15902 (latents, zero start, scalers, bias adapter); Jaegle et
    al., "Perceiver IO", arXiv 2107.14795.
    """

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
        self.latents = nn.Parameter(torch.randn(modules * config.rank, width))
        self.blocks = nn.ModuleList(PerceiverBlock(config) for _ in range(config.blocks))
        self.head = nn.Parameter(torch.randn(modules, width, config.d_in + config.d_out))
        self.scaler_a = nn.Parameter(torch.ones(modules, config.rank))
        self.scaler_b = nn.Parameter(torch.zeros(modules, config.rank))
        self.bias_a = nn.Parameter(torch.randn(modules, config.bias_rank, config.d_in) * config.d_in**-0.5)
        self.bias_b = nn.Parameter(torch.zeros(modules, config.d_out, config.bias_rank))

    def forward(
        self, features: Float[Tensor, "layers batch tokens feature"], mask: Bool[Tensor, "batch tokens"]
    ) -> dict[str, tuple[Float[Tensor, "batch rank d_in"], Float[Tensor, "batch d_out rank"]]]:
        """Adapter tensors for a batch of documents, ``scaling`` not yet multiplied in.

        Args:
            features: hidden state entering each layer of the base model.
            mask: true where a token is part of the document.

        Returns:
            for every target module, A and B for each document; the document's ranks first, the common ones last.
        """
        tokens = self._read(features, mask)
        latents = self.latents.to(tokens.dtype).expand(tokens.shape[0], -1, -1)
        for block in self.blocks:
            latents = block(latents, tokens, mask)
        return self._write(latents)

    def _read(
        self, features: Float[Tensor, "layers batch tokens feature"], mask: Bool[Tensor, "batch tokens"]
    ) -> Float[Tensor, "batch tokens width"]:
        projected = [
            project(norm(layer))
            for project, norm, layer in zip(self.feature_in, self.feature_norm, features, strict=True)
        ]
        tokens = torch.stack(projected).sum(0) * len(projected) ** -0.5
        for mixer in self.mixers:
            tokens = mixer(tokens, mask)
        return tokens

    def _write(
        self, latents: Float[Tensor, "batch latents width"]
    ) -> dict[str, tuple[Float[Tensor, "batch rank d_in"], Float[Tensor, "batch d_out rank"]]]:
        config = self.config
        batch = latents.shape[0]
        directions = functional.normalize(latents.float(), dim=-1)
        directions = directions.view(batch, len(config.modules), config.rank, config.width)
        rows = torch.einsum("bmrw,mwd->bmrd", directions.to(latents.dtype), self.head.to(latents.dtype)).float()
        a = rows[..., : config.d_in] * (self.scaler_a * config.d_in**-0.5)[..., None]
        b = rows[..., config.d_in :] * (self.scaler_b * config.d_out**-0.5)[..., None]
        return {
            name: (
                torch.cat((a[:, index], self.bias_a[index].expand(batch, -1, -1)), dim=1),
                torch.cat((b[:, index].mT, self.bias_b[index].expand(batch, -1, -1)), dim=2),
            )
            for index, name in enumerate(config.modules)
        }
