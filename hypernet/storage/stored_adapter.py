"""What a store knows of one version of an adapter."""

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class StoredAdapter:
    """One version of one user's adapter, without its tensors."""

    user: str = field(repr=False)
    version: int
    """Counts from 1 for each user, without gaps, and starts again after a deletion."""
    digest: str
    rank: int
    size_bytes: int
    created_at: datetime
    """In UTC."""
    active: bool
    """Whether this is the version that is served."""
    base_model_digest: str
    document_digest: str
