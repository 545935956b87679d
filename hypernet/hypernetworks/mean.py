"""The mean architecture: the mean adapter of a population, whatever the document says."""

from dataclasses import dataclass

import torch
from torch import nn

from hypernet.hypernetworks.hypernetwork import Chunks, Encode, Features, Hypernetwork, HypernetworkConfig, Pairs
from hypernet.models import BaseModel


@dataclass(frozen=True, kw_only=True)
class MeanConfig(HypernetworkConfig):
    """What the mean is of.

    Attributes:
        rank: 1, of zeros: a document adds nothing.
        bias_rank: rank of the mean.
        people: documents whose adapters were averaged.
    """

    rank: int = 1
    people: int = 100


class MeanHypernetwork(Hypernetwork):
    """Writes the same adapter for every document: what a generator that ignores its document comes to.

    The control against collapse. The mean lies in the common pairs, so that it counts once however many chunks a
    document has.
    """

    config: MeanConfig

    def __init__(self, config: MeanConfig) -> None:
        super().__init__()
        self.config = config
        self.mean_a = nn.ParameterList(torch.zeros(config.bias_rank, d_in) for d_in in config.d_in)
        self.mean_b = nn.ParameterList(torch.zeros(d_out, config.bias_rank) for d_out in config.d_out)

    def features(self, base: BaseModel, chunks: Chunks, *, encode: Encode | None = None) -> Features:
        """Nothing: one zero for each chunk."""
        count = len(chunks.texts)
        return Features(values=torch.zeros(count, 1), mask=torch.ones(count, 1, dtype=torch.bool))

    def forward(self, features: Features) -> Pairs:
        """Zeros for each chunk."""
        config, count = self.config, len(features.values)
        return {
            name: (torch.zeros(count, config.rank, d_in), torch.zeros(count, d_out, config.rank))
            for name, d_in, d_out in zip(config.modules, config.d_in, config.d_out, strict=True)
        }

    def common(self) -> Pairs:
        """The mean."""
        return {
            name: (a[None], b[None]) for name, a, b in zip(self.config.modules, self.mean_a, self.mean_b, strict=True)
        }
