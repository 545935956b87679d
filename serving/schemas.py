"""What the adapter routes answer, as it appears in the OpenAPI document."""

from datetime import datetime
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from hypernet.hypernetworks import MAX_STRENGTH
from hypernet.storage import StoredAdapter
from hypernet.storage.receipts import Receipt
from serving.model_ids import ModelId

# Each costs a pass of its own, however short; they share one limit in tokens besides.
MAX_DOCUMENTS = 100


class _Answer(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class AdapterInfo(_Answer):
    """A stored version of a user's adapter."""

    user: str
    model: str
    """What to put into `model` of a chat request to be answered by this very version."""
    version: int
    """Counts up from 1 with every different adapter put for this user."""
    active: bool
    """Whether chat requests that name no version get this one."""
    digest: str
    """SHA-256 of the adapter's bytes, in hex: its identity everywhere."""
    rank: int
    size_bytes: int
    created_at: datetime
    base_model_digest: str
    """Revision of the base model that it was made for."""
    document_digest: str
    """SHA-256 of the document that it was made from; of several, over their digests."""

    @classmethod
    def of(cls, stored: StoredAdapter, *, base: str) -> Self:
        """The answer for `stored`, served beside the base model `base`."""
        return cls(
            user=stored.user,
            model=str(ModelId(base=base, user=stored.user, version=stored.version)),
            version=stored.version,
            active=stored.active,
            digest=stored.digest,
            rank=stored.rank,
            size_bytes=stored.size_bytes,
            created_at=stored.created_at,
            base_model_digest=stored.base_model_digest,
            document_digest=stored.document_digest,
        )


class Timings(_Answer):
    """Where the time went, in milliseconds."""

    encode: float
    """The base model reading the document, waiting for its turn included."""
    generate: float
    """The hypernetwork making the weights."""
    serialise: float
    """Turning them into the adapter's bytes."""
    store: float
    """Writing them durably."""
    total: float
    """From the request's whole body to this answer."""


class AdapterWritten(AdapterInfo):
    """The version that now answers for the user, and what it took to make it."""

    document_tokens: int
    """Tokens that were read, of all documents."""
    chunks: int
    """Pieces that the documents were read in; each adds ranks, up to the most that an adapter keeps."""
    strength: float
    """What it was written with: 1 is as trained, 0 the base model."""
    timings_ms: Timings


class VersionList(_Answer):
    """Every stored version of a user's adapter, oldest first."""

    user: str
    versions: list[AdapterInfo]


class DestroyedKey(_Answer):
    """A key that an erasure destroyed."""

    id: str
    sha256: str | None
    """Digest of what the key was; null where nobody could read it any more."""


class ErasureLine(_Answer):
    """The line of the audit log that says what an erasure did."""

    at: str
    """ISO 8601, in UTC."""
    event: str
    user: str
    """The user's pseudonym in the audit log."""
    change: str
    """Name of the change; the line that announced it has the same."""
    objects: int
    bytes: int
    """Of those objects, as they were stored."""
    keys: list[DestroyedKey]
    lane: str
    line: int
    """Number of the line in its lane."""
    prev: str
    """SHA-256 of the line before it."""


class ErasureReceipt(_Answer):
    """A signed line of the audit log. Keep it as it is: changed in any way, it does not check any more."""

    format: int
    line: ErasureLine
    hash: str
    """SHA-256 of the line, in hex."""
    public_key: str
    """Of the key that signed, to be compared with the operator's."""
    signature: str

    @classmethod
    def of(cls, receipt: Receipt) -> Self:
        """The answer for `receipt`."""
        return cls.model_validate(receipt.to_dict())


class DocumentBody(_Answer):
    """The JSON form of a document; plain text or Markdown may be sent as the body itself."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, strict=True)

    document: str | None = None
    """The text to make the adapter from; this or `documents`."""
    documents: list[str] | None = Field(default=None, min_length=1, max_length=MAX_DOCUMENTS)
    """Several texts about the user, made into one adapter; their order makes no difference. Together they may be as
    long as one document."""
    strength: float | None = Field(default=None, ge=0, le=MAX_STRENGTH)
    """How strongly the adapter acts: 1 is as trained, 0 the base model; by default what the checkpoint says."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.document is None) == (self.documents is None):
            raise PydanticCustomError("one_of_both", "Expected either 'document' or 'documents'")
        return self

    @property
    def texts(self) -> list[str]:
        """The documents, however they came."""
        return [self.document] if self.document is not None else self.documents or []


class Health(_Answer):
    """Whether this replica works."""

    status: str
