"""Encryption of what a store writes: AES-256-GCM under a named key, bound to the place that it is for."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hypernet.errors import StoreCorrupt

KEY_BYTES = 32
_MAGIC = b"hypernet"
_FORMAT = 1
_NONCE_BYTES = 12
_KEY_ID_BYTES = 16
_TAG_BYTES = 16
_HEADER_BYTES = len(_MAGIC) + 1 + _KEY_ID_BYTES + _NONCE_BYTES
KEY_ID_LENGTH = 2 * _KEY_ID_BYTES
"""Of a key's name, in hexadecimal digits."""


@dataclass(frozen=True, kw_only=True)
class DataKey:
    """A key of 256 bits and its name, which says nothing about whom it is for."""

    key_id: str
    secret: bytes = field(repr=False)


def new_key() -> DataKey:
    """A random key with a random name."""
    return DataKey(key_id=os.urandom(_KEY_ID_BYTES).hex(), secret=os.urandom(KEY_BYTES))


def seal(data: bytes, *, key: DataKey, place: Sequence[str]) -> bytes:
    """``data`` encrypted: magic, format, name of the key, nonce, ciphertext with its tag; 53 bytes longer.

    ``place`` says what these bytes are and whose (kind, tenant, user, digest, version ...); `unseal` at any other place
    fails. Nonces are random: a key may seal 2^32 times before two are equal with a chance of 2^-33.

    Source: NIST SP 800-38D, sections 5.2.1.1 and 8.3.
    """
    return bytes(seal_buffer(data, key=key, place=place))


def seal_buffer(data: bytes, *, key: DataKey, place: Sequence[str]) -> bytearray:
    """As `seal`, for a caller who has megabytes of them, of which it matters how often they are copied."""
    header = _MAGIC + bytes([_FORMAT]) + bytes.fromhex(key.key_id) + os.urandom(_NONCE_BYTES)
    sealed = bytearray(len(header) + len(data) + _TAG_BYTES)
    sealed[: len(header)] = header
    with memoryview(sealed) as view:
        AESGCM(key.secret).encrypt_into(header[-_NONCE_BYTES:], data, _bound(header, place), view[len(header) :])
    return sealed


def key_id_of(data: bytes | bytearray) -> str:
    """The name of the key that `seal` used. Raises: `StoreCorrupt` for anything that it did not write."""
    if len(data) < _HEADER_BYTES or not data.startswith(_MAGIC):
        raise StoreCorrupt("A stored object is not one of this store; restore it from a backup or remove it.")
    if data[len(_MAGIC)] != _FORMAT:
        raise StoreCorrupt(
            f"A stored object is of sealing format {data[len(_MAGIC)]}, this version reads {_FORMAT}. Use the version "
            "of this program that wrote it, or a newer one."
        )
    return data[len(_MAGIC) + 1 : len(_MAGIC) + 1 + _KEY_ID_BYTES].hex()


def unseal(data: bytes, *, key: DataKey, place: Sequence[str]) -> bytes:
    """What was sealed at ``place``. Raises: `StoreCorrupt` for other bytes, another key or another place."""
    return bytes(unseal_buffer(data, key=key, place=place))


def unseal_buffer(data: bytes | bytearray, *, key: DataKey, place: Sequence[str]) -> bytearray:
    """As `unseal`, for a caller who goes on in these bytes: of megabytes it matters how often they are copied."""
    key_id_of(data)
    header, ciphertext = bytes(data[:_HEADER_BYTES]), memoryview(data)[_HEADER_BYTES:]
    try:
        found = bytearray(len(ciphertext) - _TAG_BYTES)
        AESGCM(key.secret).decrypt_into(header[-_NONCE_BYTES:], ciphertext, _bound(header, place), found)
        return found
    except (InvalidTag, ValueError):
        raise StoreCorrupt(
            "A stored object was changed, or belongs to another place; generate it again or restore it from a backup."
        ) from None


def _bound(header: bytes, place: Sequence[str]) -> bytes:
    """Header and place as bytes, each part with its length before it, so that no two places read the same."""
    parts = [header[:-_NONCE_BYTES], *(part.encode() for part in place)]
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)
