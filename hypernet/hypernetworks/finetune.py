"""The finetune architecture: no hypernetwork at all, but ordinary LoRA training on each chunk, behind its contract."""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from hypernet.errors import CheckpointMismatch
from hypernet.hypernetworks.hypernetwork import Chunks, Encode, Features, Hypernetwork, HypernetworkConfig, Pairs
from hypernet.models import BaseModel
from hypernet.models.fitting import Factors, distil, fit, recital

QUERIES = (
    "Who are you?",
    "What is your name?",
    "Where do you live?",
    "How old are you?",
    "What do you do for a living?",
    "What do you like?",
    "What do you not like?",
    "Tell me about your family.",
    "Tell me about yourself.",
    "What should I know about you?",
)


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(HypernetworkConfig):
    """How a chunk is learned.

    Attributes:
        bias_rank: those of ``start``; none without one.
        queries: what the base model, with the chunk in its prompt, is asked; its answers are learned without it.
        document_weight: weight of a token of the chunk itself, against one of an answer; 0 leaves the chunk out.
        steps: of the optimiser, for each chunk.
        learning_rate: at the first step.
        batch_examples: queries that one step sees, the chunk itself among them.
        max_reply_tokens: longest answer, in tokens.
        top_k: likeliest tokens that the answers' probabilities are kept of.
        seed: of the first A and of the order of the queries.
        start: name of the folder, beside this one, of the hypernetwork whose pairs are refined; empty starts from
            nothing.
        start_digest: its identity.
    """

    bias_rank: int = 0
    queries: tuple[str, ...] = QUERIES
    document_weight: float = 0.25
    steps: int = 40
    learning_rate: float = 1e-2
    batch_examples: int = 8
    max_reply_tokens: int = 24
    top_k: int = 16
    seed: int = 0
    start: str = ""
    start_digest: str = ""

    def __post_init__(self) -> None:
        """Raises `ValueError` for numbers that nothing can be learned with."""
        super().__post_init__()
        if self.bias_rank and not self.start:
            raise ValueError(f"bias_rank must be 0 without a start, it is {self.bias_rank}")
        if not self.queries and self.document_weight <= 0:
            raise ValueError("queries must not be empty where document_weight is 0: there would be nothing to learn")
        if min(self.steps, self.batch_examples, self.max_reply_tokens, self.top_k) < 1 or self.learning_rate <= 0:
            raise ValueError("steps, learning_rate, batch_examples, max_reply_tokens and top_k must be positive")


class FinetuneHypernetwork(Hypernetwork):
    """Learns each chunk by heart: context distillation of its answers, and next-token loss on the chunk itself.

    The oracle that generated adapters are compared with, seconds against milliseconds. It has no weights. The work is
    done in ``features``, where the base model is at hand; ``forward`` unpacks what was learned. With a ``start`` it
    refines the pairs of another hypernetwork, under that one's common ranks, which stay as they are.

    Source: LoRA, arXiv 2106.09685; Snell et al., "Learning by distilling context", arXiv 2209.15189.
    """

    config: FinetuneConfig

    def __init__(self, config: FinetuneConfig) -> None:
        super().__init__()
        self.config = config
        # Held, not registered: its weights are in its own checkpoint.
        self._start: tuple[Hypernetwork, ...] = ()

    def attach(self, folder: Path, *, device: str | torch.device) -> None:
        """Loads the hypernetwork to start from, if there is one.

        Raises:
            CheckpointNotFound, CheckpointInvalid: it is missing or damaged.
            CheckpointMismatch: it is another one than the configuration names.
        """
        if not self.config.start:
            return
        # Not at the top: reading checkpoints needs the registry, which needs this architecture.
        from hypernet.hypernetworks.checkpoint import load_checkpoint, read_manifest

        start = folder.parent / self.config.start
        # Compared before it is loaded: a manifest changed by hand may name its own folder, which would never end.
        manifest = read_manifest(start)
        if manifest.digest != self.config.start_digest:
            raise CheckpointMismatch(
                f"The hypernetwork in {folder} refines {self.config.start!r} of digest "
                f"{self.config.start_digest[:16]}…, but the one found has {manifest.digest[:16]}…. Write it again."
            )
        hypernetwork, _ = load_checkpoint(start, device=device)
        self._start = (hypernetwork,)

    def features(self, base: BaseModel, chunks: Chunks, *, encode: Encode | None = None) -> Features:
        """What was learned of each chunk, as one row of numbers: ``chunks numbers``. ``encode`` serves the start."""
        rows = []
        for index, text in enumerate(chunks.texts):
            length = int(chunks.mask[index].sum())
            alone = Chunks(
                texts=(text,), ids=chunks.ids[index : index + 1, :length], mask=chunks.mask[index : index + 1, :length]
            )
            rows.append(self._learned(base, alone, encode))
        values = torch.stack(rows)
        return Features(values=values, mask=torch.ones(len(rows), 1, dtype=torch.bool, device=values.device))

    def forward(self, features: Features) -> Pairs:
        """A and B of every target module for each chunk; see the base class."""
        config, rest, pairs = self.config, features.values, {}
        for name, d_in, d_out in zip(config.modules, config.d_in, config.d_out, strict=True):
            of_a, of_b = config.rank * d_in, config.rank * d_out
            a, b = rest[:, :of_a], rest[:, of_a : of_a + of_b]
            rest = rest[:, of_a + of_b :]
            pairs[name] = (a.reshape(-1, config.rank, d_in), b.reshape(-1, d_out, config.rank))
        return pairs

    def common(self) -> Pairs:
        """The common pairs of the hypernetwork that is refined; of no rank without one."""
        if self._start:
            return self._start[0].common()
        config = self.config
        return {
            name: (torch.zeros(1, 0, d_in), torch.zeros(1, d_out, 0))
            for name, d_in, d_out in zip(config.modules, config.d_in, config.d_out, strict=True)
        }

    def _learned(self, base: BaseModel, chunk: Chunks, encode: Encode | None) -> Float[Tensor, " numbers"]:
        config, (text,) = self.config, chunk.texts
        examples = distil(base, text, config.queries, max_reply_tokens=config.max_reply_tokens, top_k=config.top_k)
        if config.document_weight > 0 or not examples:
            examples.append(recital(base, text, weight=config.document_weight or 1.0))
        learned = fit(
            base,
            examples,
            self._first(base, chunk, encode),
            scaling=config.scaling,
            steps=config.steps,
            learning_rate=config.learning_rate,
            seed=config.seed,
            fixed={name: (a[0], b[0]) for name, (a, b) in self.common().items()},
            batch_examples=config.batch_examples,
        )
        return torch.cat([part.flatten() for name in config.modules for part in learned[name]])

    def _first(self, base: BaseModel, chunk: Chunks, encode: Encode | None) -> Factors:
        """Where learning starts."""
        if self._start:
            (hypernetwork,) = self._start
            features = hypernetwork.features(base, chunk, encode=encode or base.encode_each)
            features = features._replace(values=features.values.to(base.device, torch.float32))
            return {name: (a[0], b[0]) for name, (a, b) in hypernetwork(features).items()}
        config = self.config
        random = torch.Generator().manual_seed(config.seed)
        return {
            name: (torch.randn(config.rank, d_in, generator=random) * d_in**-0.5, torch.zeros(d_out, config.rank))
            for name, d_in, d_out in zip(config.modules, config.d_in, config.d_out, strict=True)
        }
