"""An adapter as a store keeps it: canonical bytes under their digest."""

import hashlib

from hypernet.adapters import Adapter, validate
from hypernet.errors import AdapterInvalid, StoreCorrupt


def to_bytes(adapter: Adapter) -> tuple[str, bytes]:
    """Digest and bytes of an adapter that is fit to be stored. Raises: `AdapterInvalid`."""
    validate(adapter)
    data = adapter.canonical_bytes()
    return hashlib.sha256(data).hexdigest(), data


def from_bytes(data: bytearray, *, digest: str) -> Adapter:
    """The adapter that was put, from bytes whose seal says that they are those of that digest, and which it keeps.

    Raises: `StoreCorrupt`.
    """
    try:
        return Adapter.from_vouched_bytes(data, digest=digest)
    except AdapterInvalid as error:
        raise StoreCorrupt(f"A stored adapter cannot be read: {error.message}") from error
