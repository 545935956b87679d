"""What a generator keeps of the documents that it has read, so that none has to be read again."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

from hypernet.adapters import LoraPair, tensor_file
from hypernet.errors import AdapterInvalid, NotFound, StateInvalid, StateMismatch

FORMAT_VERSION = 1
_METADATA_KEY = "hypernet-state"
_A, _B = "a.", "b."
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadDocument:
    """A document as a generator has read it.

    Attributes:
        digest: of the document's text.
        tokens: that were read, chat markup of every chunk included.
        chunks: for each chunk in order, the LoRA pairs of every target module, their scaling not multiplied in.
    """

    digest: str
    tokens: int
    chunks: tuple[Mapping[str, LoraPair], ...] = field(repr=False)

    @property
    def rank(self) -> int:
        """Ranks of all chunks."""
        return sum(next(iter(chunk.values())).a.shape[0] for chunk in self.chunks)


@dataclass(frozen=True, kw_only=True, eq=False)
class State:
    """The documents of one user as one generator has read them; a value, never changed after it is made.

    States of one user's documents add up, and a document can be taken out: the adapter is then, to the last bit, what
    it would have been without it. Documents are held in the order of their digests, so it does not matter which came
    first.

    Attributes:
        signature: digest of the signature of the generator that read; no other writes an adapter from it.
        documents: those that were read, each once.
    """

    signature: str
    documents: tuple[ReadDocument, ...]

    def __post_init__(self) -> None:
        once = {document.digest: document for document in reversed(self.documents)}
        object.__setattr__(self, "documents", tuple(once[digest] for digest in sorted(once)))

    def __add__(self, other: "State") -> "State":
        """The documents of both; one that both have counts once. Raises `StateMismatch` for another generator's."""
        if self.signature != other.signature:
            raise StateMismatch("The two states were made by different generators; read the documents again with one.")
        return replace(self, documents=self.documents + other.documents)

    def without(self, digest: str) -> "State":
        """The state without the document of that digest. Raises `NotFound` where it has none such."""
        kept = tuple(document for document in self.documents if document.digest != digest)
        if len(kept) == len(self.documents):
            raise NotFound(f"The state holds no document with the digest {digest[:16]}…; it holds {len(kept)} others.")
        return replace(self, documents=kept)

    @property
    def chunks(self) -> int:
        """Chunks of all documents."""
        return sum(len(document.chunks) for document in self.documents)

    @property
    def rank(self) -> int:
        """Ranks of all chunks; those that every document shares are not among them."""
        return sum(document.rank for document in self.documents)

    @property
    def tokens(self) -> int:
        """Tokens of all documents, chat markup of every chunk included."""
        return sum(document.tokens for document in self.documents)

    @cached_property
    def document_digest(self) -> str:
        """The document's digest; of several, SHA-256 over their digests in order."""
        if len(self.documents) == 1:
            return self.documents[0].digest
        return sha256("".join(document.digest + "\n" for document in self.documents).encode()).hexdigest()

    def to_bytes(self) -> bytes:
        """The state as one safetensors file; equal states give equal bytes.

        For every module one A and one B of all chunks, so that the header hardly grows with the number of documents.
        """
        chunks = [chunk for document in self.documents for chunk in document.chunks]
        tensors: dict[str, Tensor] = {}
        for name in chunks[0] if chunks else ():
            tensors[_A + name] = torch.stack([chunk[name].a for chunk in chunks])
            tensors[_B + name] = torch.stack([chunk[name].b for chunk in chunks])
        documents = [
            {"chunks": len(document.chunks), "digest": document.digest, "tokens": document.tokens}
            for document in self.documents
        ]
        about = {"format_version": FORMAT_VERSION, "signature": self.signature, "documents": documents}
        metadata = {"format": "pt", _METADATA_KEY: json.dumps(about, sort_keys=True, separators=(",", ":"))}
        return tensor_file.encode(tensors, metadata=metadata)

    @classmethod
    def from_bytes(cls, data: bytes) -> "State":
        """The state whose bytes these are.

        Raises: `StateInvalid` for bytes that are corrupt, cut short, of wrong shapes, not finite or no state at all.
        Whether modules and widths are those of a generator is checked by the generator that writes an adapter.
        """
        try:
            file = tensor_file.decode(data)
        except AdapterInvalid as error:
            raise StateInvalid(f"The state cannot be read: {error.message}") from None
        try:
            about = json.loads(file.metadata[_METADATA_KEY])
            if about["format_version"] != FORMAT_VERSION:
                raise StateInvalid(
                    f"The state is of format {str(about['format_version'])[:20]}, this release reads format "
                    f"{FORMAT_VERSION}. Read the documents again."
                )
            if type(about["signature"]) is not str:
                raise TypeError("the signature must be text")
            documents = _documents(about["documents"], file.tensors)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError):
            raise StateInvalid(
                "The state cannot be read: it does not hold what a state holds. Read the documents again."
            ) from None
        return cls(signature=about["signature"], documents=documents)


def _documents(entries: Sequence[Mapping[str, Any]], tensors: Mapping[str, Tensor]) -> tuple[ReadDocument, ...]:
    for entry in entries:
        if not _DIGEST.fullmatch(entry["digest"]):
            raise ValueError("a document's digest must be SHA-256 in hex")
        if any(type(entry[name]) is not int or entry[name] < 1 for name in ("chunks", "tokens")):
            raise ValueError("a document has at least one chunk and one token")
    digests = [entry["digest"] for entry in entries]
    if digests != sorted(set(digests)):
        raise ValueError("documents must be in the order of their digests, each once")
    chunks = iter(_chunks(tensors, sum(entry["chunks"] for entry in entries)))
    return tuple(
        ReadDocument(
            digest=entry["digest"], tokens=entry["tokens"], chunks=tuple(next(chunks) for _ in range(entry["chunks"]))
        )
        for entry in entries
    )


def _chunks(tensors: Mapping[str, Tensor], count: int) -> list[Mapping[str, LoraPair]]:
    """The pairs of so many chunks, the same modules and ranks in all of them."""
    names = [key.removeprefix(_A) for key in tensors if key.startswith(_A)]
    stacks = {name: (tensors[_A + name], tensors[_B + name]) for name in names}
    if len(tensors) != 2 * len(stacks) or bool(stacks) != bool(count):
        raise ValueError("other tensors than its documents have")
    if any(part.ndim != 3 or part.dtype != torch.float32 for pair in stacks.values() for part in pair):
        raise ValueError("no stacks of matrices of float32")
    shapes = {shape for a, b in stacks.values() for shape in ((a.shape[0], a.shape[1]), (b.shape[0], b.shape[2]))}
    if len(shapes) > 1 or any(chunks != count for chunks, _ in shapes):
        raise ValueError("pairs of unequal shapes")
    if not all(part.isfinite().all() for pair in stacks.values() for part in pair):
        raise ValueError("values that are not finite")
    return [
        {name: LoraPair(a=a[index].clone(), b=b[index].clone()) for name, (a, b) in stacks.items()}
        for index in range(count)
    ]
