"""The generator: documents in, what they say kept as a state, a state and a strength into an adapter."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from time import perf_counter

import torch

from hypernet.adapters import Adapter, LoraPair, Provenance, compress
from hypernet.checkpoints import CheckpointPaths, find
from hypernet.documents import Document, split_into_chunks
from hypernet.errors import (
    CheckpointInvalid,
    CheckpointMismatch,
    DocumentTooLong,
    EmptyDocument,
    InvalidRequest,
    StateMismatch,
)
from hypernet.generators.signature import Signature
from hypernet.generators.state import ReadDocument, State
from hypernet.hypernetworks import (
    MAX_STRENGTH,
    Chunks,
    Encode,
    Features,
    Hypernetwork,
    Manifest,
    load_checkpoint,
)
from hypernet.models import BaseModel

# Chunks whose features are made in one call: their hidden states are in memory together.
_CHUNKS_AT_ONCE = 16


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
        state: what was read; more documents can be added to it, and taken out again.
        document_tokens: tokens that the documents took, chat markup of every chunk included.
        chunks: pieces that they were read in.
        strength: what B was multiplied by beside its scaling.
        timings: how long each stage took.
    """

    adapter: Adapter
    state: State
    document_tokens: int
    chunks: int
    strength: float
    timings: Timings


@dataclass(frozen=True, kw_only=True)
class _Chunk:
    """A piece of a document, as text and as the base model's tokens."""

    text: str = field(repr=False)  # so that no traceback shows it
    ids: list[int] = field(repr=False)


class Generator:
    """A base model and a hypernetwork that was trained for it, whatever its architecture.

    The same documents give the same adapter, digest and all, on the same kind of machine. Holds the base model;
    ``close`` lets go of it.
    """

    def __init__(
        self,
        base: BaseModel,
        hypernetwork: Hypernetwork,
        manifest: Manifest,
        *,
        name: str,
        max_document_tokens: int | None = None,
    ) -> None:
        """Join the two. Without ``max_document_tokens`` the manifest's counts.

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
        shapes = dict(zip(config.modules, zip(config.d_in, config.d_out)))
        if shapes != base.target_shapes(manifest.target_modules) or manifest.chunk_tokens > base.max_context_tokens:
            raise CheckpointInvalid(
                f"The manifest of the hypernetwork {name!r} names other modules, or other sizes, than its base model "
                "has. Copy the checkpoint again."
            )
        self.base = base
        self.hypernetwork = hypernetwork
        self.manifest = manifest
        self.name = name
        self.strength = manifest.strength
        """What an adapter is written with where nobody asks for another strength."""
        self.max_document_tokens = max_document_tokens or manifest.max_document_tokens
        """The longest document that is accepted, in tokens, chat markup included; of several that `generate` takes at
        once, the most together."""
        self.signature = Signature(
            architecture=manifest.architecture,
            base_model=base.name,
            base_model_digest=base.digest,
            target_modules=manifest.target_modules,
            rank=manifest.max_rank,
            digest=manifest.digest,
        )
        with torch.no_grad():
            self._common = {
                module: LoraPair(a=a[0].cpu(), b=b[0].cpu()) for module, (a, b) in hypernetwork.common().items()
            }

    @classmethod
    def from_checkpoint(
        cls,
        paths: CheckpointPaths,
        *,
        device: str | torch.device = "cpu",
        max_document_tokens: int | None = None,
    ) -> "Generator":
        """The generator whose parts lie at ``paths``.

        Raises:
            CheckpointNotFound: a folder is missing.
            CheckpointInvalid: a file is missing or corrupt.
            CheckpointMismatch: base model and hypernetwork do not belong together.
        """
        hypernetwork, manifest = load_checkpoint(paths.hypernetwork, device=device)
        base = BaseModel.load(paths.base, name=paths.base_name, device=device)
        return cls(base, hypernetwork, manifest, name=paths.name, max_document_tokens=max_document_tokens)

    @property
    def digest(self) -> str:
        """The hypernetwork's identity."""
        return self.signature.digest

    @property
    def chunk_tokens(self) -> int:
        """The longest chunk that is read at once, in tokens, chat markup included."""
        return self.manifest.chunk_tokens

    @property
    def trained_chunks(self) -> int:
        """The most chunks that a document had in training."""
        return self.manifest.trained_chunks

    @property
    def rank(self) -> int:
        """The most ranks that an adapter has, unless it is written with another `max_rank`."""
        return self.signature.rank

    @property
    def target_modules(self) -> tuple[str, ...]:
        """Last parts of the target modules' names."""
        return self.signature.target_modules

    def generate(
        self,
        documents: Document | str | Sequence[Document | str],
        *,
        strength: float | None = None,
        encode: Encode | None = None,
    ) -> Generation:
        """The adapter for one document, or for several of one user: ``read``, then ``write``, with their times.

        Several count as one towards ``max_document_tokens``, and one that comes twice is read once. What is out of
        range is refused before anything is read.

        Raises: what they raise.
        """
        strength = self.strength if strength is None else strength
        check_strength(strength)
        known = _documents([documents] if isinstance(documents, Document | str) else documents)
        several = list({document.digest: document for document in known}.values())
        spent = _Spent()
        state = _sum(self._read(several, encode, spent, together=True))
        started = perf_counter()
        adapter = self.write(state, strength=strength)
        written = perf_counter()
        _ = adapter.digest  # kept by the adapter: whoever stores or serves it needs it
        serialised = perf_counter()
        return Generation(
            adapter=adapter,
            state=state,
            document_tokens=state.tokens,
            chunks=state.chunks,
            strength=strength,
            timings=Timings(
                encode_ms=1e3 * spent.encode_s,
                generate_ms=1e3 * (spent.write_s + written - started),
                serialise_ms=1e3 * (serialised - written),
            ),
        )

    def read(self, documents: Sequence[Document | str], *, encode: Encode | None = None) -> list[State]:
        """What the generator makes of each document: one state for each, the same to the last bit as one by one.

        Args:
            documents: what to read; a string is taken as a document's text.
            encode: runs the base model on chunks; the base model's own `encode_each` by default. A service passes its
                engine's, so that one thread uses the backbone; the states are the same to the last bit.

        Raises:
            EmptyDocument: there is nothing to read.
            DocumentEncodingError: the text is not valid Unicode.
            DocumentTooLong: more tokens than ``max_document_tokens``.
        """
        return self._read(documents, encode, _Spent())

    def write(self, state: State, *, strength: float | None = None, max_rank: int | None = None) -> Adapter:
        """The adapter of all documents of ``state``: the ranks of their chunks joined, then the common ones, once.

        Args:
            state: made by this generator or by another one of the same signature.
            strength: what B is multiplied by beside its scaling, between 0, which is the base model, and
                `MAX_STRENGTH`; the checkpoint's own by default.
            max_rank: the most ranks that the adapter keeps, by default ``signature.rank``; one of more is compressed to
                exactly so many. It does not let an adapter grow: one of fewer is as it is.

        Raises:
            StateMismatch: another generator read the documents.
            EmptyDocument: the state holds no documents.
            InvalidRequest: ``strength`` or ``max_rank`` is out of range.
        """
        strength = self.strength if strength is None else strength
        max_rank = self.signature.rank if max_rank is None else max_rank
        check_strength(strength)
        if max_rank < 1:
            raise InvalidRequest(f"Expected max_rank of at least 1, {max_rank} came.", param="max_rank")
        if state.signature != self.signature.digest:
            raise StateMismatch(
                f"The state was made by another generator than {self.name!r}, or by another release of it. Read the "
                "documents again with this one."
            )
        if not state.documents:
            raise EmptyDocument("The state holds no documents: there is nothing to write an adapter from.")
        config = self.hypernetwork.config
        rank = state.rank + config.bias_rank
        options: dict[str, str | int | float | bool | None] = {"chunks": state.chunks}
        if len(state.documents) > 1:
            options["documents"] = len(state.documents)
        if strength != 1:
            options["strength"] = float(strength)
        if rank > max_rank:
            options["compressed_from_rank"] = rank
        adapter = Adapter(
            modules=self._joined(state),
            rank=rank,
            scaling=config.scaling * strength,
            provenance=Provenance(
                base_model=self.base.name,
                base_model_digest=self.base.digest,
                hypernetwork=self.name,
                hypernetwork_digest=self.digest,
                document_digest=state.document_digest,
                options=options,
            ),
        )
        return compress(adapter, max_rank)

    def close(self) -> None:
        """Let go of the base model."""
        self.base.close()

    def _joined(self, state: State) -> Mapping[str, LoraPair]:
        chunks = [chunk for document in state.documents for chunk in document.chunks]
        try:
            return {
                name: LoraPair(
                    a=torch.cat([*(chunk[name].a for chunk in chunks), common.a]),
                    b=torch.cat([*(chunk[name].b for chunk in chunks), common.b], dim=1),
                )
                for name, common in self._common.items()
            }
        except (KeyError, RuntimeError):
            # Of this generator by its own word, and yet of other sizes: made up, or damaged where nobody looked.
            raise StateMismatch(
                f"The state has other modules or sizes than {self.name!r} writes. Read the documents again."
            ) from None

    @torch.no_grad()
    def _read(
        self, documents: Sequence[Document | str], encode: Encode | None, spent: "_Spent", *, together: bool = False
    ) -> list[State]:
        known = _documents(documents)
        rendered = self._rendered(known, together=together)
        split = [self._chunks(document, ids) for document, ids in zip(known, rendered, strict=True)]
        pairs = self._pairs([chunk for chunks in split for chunk in chunks], encode or self.base.encode_each, spent)
        return [
            State(
                signature=self.signature.digest,
                documents=(
                    ReadDocument(
                        digest=document.digest,
                        tokens=sum(len(chunk.ids) for chunk in chunks),
                        chunks=tuple(islice(pairs, len(chunks))),
                    ),
                ),
            )
            for document, chunks in zip(known, split)
        ]

    def _rendered(self, documents: Sequence[Document], *, together: bool) -> list[list[int]]:
        """The tokens of each document, refused as soon as they are too many: each alone, or all ``together``."""
        limit, total = self.max_document_tokens, 0
        found: list[list[int]] = []
        for document in documents:
            ids = self.base.render_document(document.text)
            total += len(ids)
            if len(ids) > limit:
                raise DocumentTooLong(
                    f"The document has {len(ids)} tokens, the limit of {self.name!r} is {limit}. "
                    "Shorten it, or split it.",
                    limit=limit,
                    count=len(ids),
                )
            if together and total > limit:
                raise DocumentTooLong(
                    f"The {len(documents)} documents have {total} tokens or more together, the limit of {self.name!r} "
                    f"is {limit}. Shorten them, or leave some out.",
                    limit=limit,
                    count=total,
                )
            found.append(ids)
        return found

    def _chunks(self, document: Document, ids: list[int]) -> list[_Chunk]:
        if len(ids) <= self.chunk_tokens:
            return [_Chunk(text=document.text, ids=ids)]
        texts = split_into_chunks(
            document.text,
            count_tokens=lambda text: len(self.base.render_document(text)),
            chunk_tokens=self.chunk_tokens,
        )
        return [_Chunk(text=text, ids=self.base.render_document(text)) for text in texts]

    def _pairs(self, chunks: Sequence[_Chunk], encode: Encode, spent: "_Spent") -> Iterator[Mapping[str, LoraPair]]:
        """The LoRA pairs of each chunk.

        The context encoder takes many chunks at once where that does not change its bits. The hypernetwork takes them
        one at a time, without padding: in a batch, matrix products of other shapes would give other last bits, and
        which documents are read together must not show in an adapter's digest.
        """
        for start in range(0, len(chunks), _CHUNKS_AT_ONCE):
            batch = chunks[start : start + _CHUNKS_AT_ONCE]
            started = perf_counter()
            ids, mask = self.base.pad([chunk.ids for chunk in batch], length=max(len(chunk.ids) for chunk in batch))
            texts = tuple(chunk.text for chunk in batch)
            features = self.hypernetwork.features(self.base, Chunks(texts=texts, ids=ids, mask=mask), encode=encode)
            spent.encode_s += perf_counter() - started
            for index in range(len(batch)):
                started = perf_counter()
                pairs = self.hypernetwork(_one(features, index, device=self.base.device))
                found = {name: LoraPair(a=a[0].cpu(), b=b[0].cpu().contiguous()) for name, (a, b) in pairs.items()}
                spent.write_s += perf_counter() - started
                yield found


@dataclass(kw_only=True)
class _Spent:
    """Seconds spent so far."""

    encode_s: float = 0.0
    write_s: float = 0.0


def check_strength(strength: float) -> None:
    """Returns if an adapter can be written with that strength. Raises `InvalidRequest`."""
    if not 0 <= strength <= MAX_STRENGTH:
        raise InvalidRequest(
            f"Expected strength from 0 to {MAX_STRENGTH:g}, {strength} came; 1 is as trained, 0 the base model.",
            param="strength",
        )


def _one(features: Features, index: int, *, device: torch.device) -> Features:
    """The features of one chunk of several, without padding."""
    mask = features.mask[index : index + 1]
    mask = mask[:, : int(mask.sum())]
    each = features.values
    values = each[index : index + 1] if each.ndim == 2 else each[:, index : index + 1, : mask.shape[1]]
    return Features(values=values.to(device, torch.float32).contiguous(), mask=mask.to(device))


def _documents(items: Sequence[Document | str]) -> list[Document]:
    return [Document.from_text(item) if isinstance(item, str) else item for item in items]


def _sum(states: Sequence[State]) -> State:
    if not states:
        raise EmptyDocument("Expected at least one document, none came.")
    return State(signature=states[0].signature, documents=tuple(document for s in states for document in s.documents))


def load(checkpoint: str = "tiny", *, device: str | torch.device = "cpu", root: Path | None = None) -> Generator:
    """The generator released under the name ``checkpoint``.

    Args:
        checkpoint: its name, as in ``tiny``; ``tiny/mlp`` for another architecture than the default one.
        device: where to run.
        root: folder of checkpoints; ``HYPERNET_CHECKPOINTS`` or the project's own ``checkpoints`` by default.

    Raises:
        CheckpointNotFound: there is no such checkpoint; the message names the folder and what is in it.
        CheckpointInvalid: a file is missing or corrupt.
        CheckpointMismatch: its parts do not belong together.
    """
    return Generator.from_checkpoint(find(checkpoint, root=root), device=device)
