"""The generator: one document in, one adapter out, in one forward pass."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import torch
from jaxtyping import Float
from torch import Tensor

from hypernet.adapters import Adapter, LoraPair, Provenance
from hypernet.checkpoints import CheckpointPaths, find
from hypernet.documents import Document
from hypernet.errors import CheckpointInvalid, CheckpointMismatch, DocumentTooLong
from hypernet.hypernetworks import Manifest, PerceiverHypernetwork, load_checkpoint
from hypernet.models import BaseModel

Encode = Callable[[Sequence[Sequence[int]]], list[Float[Tensor, "layers tokens hidden"]]]
"""Token ids of documents to the hidden state entering each layer, as an engine's ``encode`` gives it."""


@dataclass(frozen=True, kw_only=True)
class Timings:
    """How long each stage took, in milliseconds."""

    encode_ms: float
    generate_ms: float
    serialise_ms: float


@dataclass(frozen=True, kw_only=True)
class Generation:
    """An adapter and how it was made.

    Attributes:
        adapter: validated by whoever stores or serves it.
        document_tokens: tokens that the document took, chat markup included.
        timings: how long each stage took.
    """

    adapter: Adapter
    document_tokens: int
    timings: Timings


class Generator:
    """A base model and the hypernetwork that was trained for it.

    The same document gives the same adapter, digest and all, on the same kind of machine. Holds the base model;
    ``close`` lets go of it.
    """

    def __init__(self, base: BaseModel, hypernetwork: PerceiverHypernetwork, manifest: Manifest, *, name: str) -> None:
        """Join the two.

        Raises:
            CheckpointMismatch: the hypernetwork was trained for another base model, or for another revision of it.
            CheckpointInvalid: it was, but its manifest names other modules or sizes than that base model has.
        """
        if manifest.base_model_digest != base.digest:
            raise CheckpointMismatch(
                f"The hypernetwork {name!r} was trained for the base model {manifest.base_model} with digest "
                f"{manifest.base_model_digest[:16]}…, but the base model found has {base.digest[:16]}…. Use the two "
                "that were released together, or train a hypernetwork for this base model."
            )
        config = hypernetwork.config
        if dict.fromkeys(config.modules, (config.d_in, config.d_out)) != base.target_shapes(manifest.target_modules):
            raise CheckpointInvalid(
                f"The manifest of the hypernetwork {name!r} names other modules, or other sizes, than its base model "
                "has. Copy the checkpoint again."
            )
        self.base = base
        self.hypernetwork = hypernetwork
        self.manifest = manifest
        self.name = name

    @classmethod
    def from_checkpoint(cls, paths: CheckpointPaths, *, device: str | torch.device = "cpu") -> "Generator":
        """The generator whose parts lie at ``paths``.

        Raises:
            CheckpointNotFound: a folder is missing.
            CheckpointInvalid: a file is missing or corrupt.
            CheckpointMismatch: base model and hypernetwork do not belong together.
        """
        hypernetwork, manifest = load_checkpoint(paths.perceiver, device=device)
        base = BaseModel.load(paths.base, name=paths.name, device=device)
        return cls(base, hypernetwork, manifest, name=paths.name)

    @property
    def digest(self) -> str:
        """The hypernetwork's identity."""
        return self.manifest.digest

    @property
    def rank(self) -> int:
        """Rank of the adapters."""
        return self.hypernetwork.config.total_rank

    @property
    def target_modules(self) -> tuple[str, ...]:
        """Last parts of the target modules' names."""
        return self.manifest.target_modules

    @property
    def max_document_tokens(self) -> int:
        """The longest document that is accepted, in tokens, chat markup included."""
        return self.manifest.max_document_tokens

    def generate(self, document: Document | str, *, encode: Encode | None = None) -> Generation:
        """The adapter for ``document``.

        Args:
            document: what to read; a string is taken as a document's text.
            encode: runs the base model on the document; the base model's own `encode_each` by default. A service passes
                its engine's, so that one thread uses the backbone; the adapter is the same to the last bit.

        Raises:
            EmptyDocument: there is nothing to read.
            DocumentEncodingError: the text is not valid Unicode.
            DocumentTooLong: more tokens than ``max_document_tokens``.
        """
        if isinstance(document, str):
            document = Document.from_text(document)
        ids = self.tokens(document)
        started = perf_counter()
        (features,) = (encode or self.base.encode_each)([ids])
        encoded = perf_counter()
        adapter = self._adapter(features, document)
        generated = perf_counter()
        _ = adapter.digest  # kept by the adapter: whoever stores or serves it needs it
        serialised = perf_counter()
        timings = Timings(
            encode_ms=1e3 * (encoded - started),
            generate_ms=1e3 * (generated - encoded),
            serialise_ms=1e3 * (serialised - generated),
        )
        return Generation(adapter=adapter, document_tokens=len(ids), timings=timings)

    def tokens(self, document: Document) -> list[int]:
        """Token ids of ``document`` as the base model reads it. Raises `DocumentTooLong` over the limit."""
        ids = self.base.render_document(document.text)
        if len(ids) > self.max_document_tokens:
            raise DocumentTooLong(
                f"The document has {len(ids)} tokens, the limit of {self.name!r} is {self.max_document_tokens}. "
                "Shorten it, or split it.",
                limit=self.max_document_tokens,
                count=len(ids),
            )
        return ids

    def close(self) -> None:
        """Let go of the base model."""
        self.base.close()

    @torch.inference_mode()
    def _adapter(self, features: Float[Tensor, "layers tokens hidden"], document: Document) -> Adapter:
        batch = features[:, None].to(self.base.device, torch.float32)
        mask = torch.ones(batch.shape[1:3], dtype=torch.bool, device=batch.device)
        tensors = self.hypernetwork(batch, mask)
        return Adapter(
            modules={
                name: LoraPair(a=a[0].cpu().contiguous(), b=b[0].cpu().contiguous()) for name, (a, b) in tensors.items()
            },
            rank=self.rank,
            scaling=self.hypernetwork.config.scaling,
            provenance=Provenance(
                base_model=self.base.name,
                base_model_digest=self.base.digest,
                hypernetwork=self.name,
                hypernetwork_digest=self.digest,
                document_digest=document.digest,
                options={},
            ),
        )


def load(checkpoint: str = "tiny", *, device: str | torch.device = "cpu", root: Path | None = None) -> Generator:
    """The generator released under the name ``checkpoint``.

    Args:
        checkpoint: its name.
        device: where to run.
        root: folder of checkpoints; ``HYPERNET_CHECKPOINTS`` or the project's own ``checkpoints`` by default.

    Raises:
        CheckpointNotFound: there is no such checkpoint; the message names the folder and what is in it.
        CheckpointInvalid: a file is missing or corrupt.
        CheckpointMismatch: its parts do not belong together.
    """
    return Generator.from_checkpoint(find(checkpoint, root=root), device=device)
