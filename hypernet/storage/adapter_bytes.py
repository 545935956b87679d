"""An adapter as a store keeps it: canonical bytes under their digest."""

import hashlib

from hypernet.adapters import Adapter, validate
from hypernet.errors import AdapterInvalid, StoreCorrupt


def to_bytes(adapter: Adapter) -> tuple[str, bytes]:
    """Digest and bytes of an adapter that is fit to be stored. Raises: `AdapterInvalid`."""
    validate(adapter)
    data = adapter.canonical_bytes()
    return hashlib.sha256(data).hexdigest(), data


def is_intact(data: bytes, *, digest: str) -> bool:
    """Whether these are the bytes of that digest."""
    return hashlib.sha256(data).hexdigest() == digest


def from_bytes(data: bytes, *, digest: str) -> Adapter:
    """The adapter that was put. Raises: `StoreCorrupt` if these are not the bytes that were."""
    if not is_intact(data, digest=digest):
        raise StoreCorrupt("A stored adapter does not match its digest; generate it again or restore it from a backup.")
    try:
        return Adapter.from_canonical_bytes(data)
    except AdapterInvalid as error:
        raise StoreCorrupt(f"A stored adapter cannot be read: {error.message}") from error
