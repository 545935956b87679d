"""What a generator keeps of the documents that it has read, so that none has to be read again."""

import json
from collections.abc import Mapping
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
        """The state as one safetensors file; equal states give equal bytes."""
        tensors: dict[str, Tensor] = {}
        for number, document in enumerate(self.documents):
            for name in document.chunks[0]:
                tensors[f"{number}.a.{name}"] = torch.stack([chunk[name].a for chunk in document.chunks])
                tensors[f"{number}.b.{name}"] = torch.stack([chunk[name].b for chunk in document.chunks])
        documents = [{"digest": document.digest, "tokens": document.tokens} for document in self.documents]
        about = {"format_version": FORMAT_VERSION, "signature": self.signature, "documents": documents}
        metadata = {"format": "pt", _METADATA_KEY: json.dumps(about, sort_keys=True, separators=(",", ":"))}
        return tensor_file.encode(tensors, metadata=metadata)

    @classmethod
    def from_bytes(cls, data: bytes) -> "State":
        """The state whose bytes these are.

        Raises: `StateInvalid` for bytes that are corrupt, cut short, of wrong shapes or no state at all. Whether the
        values suit a generator is checked by the generator that writes an adapter from them.
        """
        try:
            file = tensor_file.decode(data)
        except AdapterInvalid as error:
            raise StateInvalid(f"The state cannot be read: {error.message}") from None
        try:
            about = json.loads(file.metadata[_METADATA_KEY])
            if about["format_version"] != FORMAT_VERSION:
                raise StateInvalid(
                    f"The state is of format {about['format_version']}, this release reads format {FORMAT_VERSION}. "
                    "Read the documents again."
                )
            documents = tuple(_document(n, entry, file.tensors) for n, entry in enumerate(about["documents"]))
            if type(about["signature"]) is not str or sum(len(d.chunks[0]) for d in documents) * 2 != len(file.tensors):
                raise ValueError("other tensors than its documents have")
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError):
            raise StateInvalid(
                "The state cannot be read: it does not hold what a state holds. Read the documents again."
            ) from None
        return cls(signature=about["signature"], documents=documents)


def _document(number: int, entry: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> ReadDocument:
    digest, tokens = entry["digest"], entry["tokens"]
    if type(digest) is not str or type(tokens) is not int:
        raise TypeError("a document needs a digest and a count of tokens")
    prefix = f"{number}.a."
    names = [key.removeprefix(prefix) for key in tensors if key.startswith(prefix)]
    stacks = {name: (tensors[prefix + name], tensors[f"{number}.b.{name}"]) for name in names}
    # Chunks and ranks, the same for all modules.
    (shape,) = {tuple(a.shape[:2]) for a, _ in stacks.values()}
    if any(a.ndim != 3 or b.ndim != 3 or (b.shape[0], b.shape[2]) != shape for a, b in stacks.values()):
        raise ValueError("pairs of unequal shapes")
    chunks = tuple(
        {name: LoraPair(a=a[index].clone(), b=b[index].clone()) for name, (a, b) in stacks.items()}
        for index in range(shape[0])
    )
    return ReadDocument(digest=digest, tokens=tokens, chunks=chunks)
