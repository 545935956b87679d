"""The keys of a tenant's audit log: one signs its lines, one turns users into pseudonyms, one vouches for erasures."""

import base64
import binascii
import hashlib
import hmac
import os
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hypernet.errors import ObjectChanged, StoreCorrupt
from hypernet.storage.key_provider import KeyProvider
from hypernet.storage.keys import TenantScope, UserPath
from hypernet.storage.object_storage import ObjectStorage
from hypernet.storage.sealing import KEY_BYTES

_PSEUDONYM_LENGTH = 32


@dataclass(frozen=True, kw_only=True)
class AuditKeys:
    """What signs a tenant's log, makes its pseudonyms, and vouches for pointers of users without a key of their own.

    All from one secret of 256 bits.

    Source: RFC 8032 (Ed25519), RFC 5869 (HKDF), RFC 2104 (HMAC).
    """

    signing: Ed25519PrivateKey = field(repr=False)
    naming: bytes = field(repr=False)
    vacating: bytes = field(repr=False)

    @classmethod
    def from_secret(cls, secret: bytes) -> "AuditKeys":
        """The keys that follow from a secret."""

        def derived(purpose: bytes) -> bytes:
            return HKDFExpand(algorithm=SHA256(), length=KEY_BYTES, info=purpose).derive(secret)

        return cls(
            signing=Ed25519PrivateKey.from_private_bytes(derived(b"hypernet audit signature")),
            naming=derived(b"hypernet audit pseudonym"),
            vacating=derived(b"hypernet vacant pointer"),
        )

    @property
    def public_key(self) -> str:
        """What everybody may have who checks signatures: 64 hexadecimal digits."""
        return self.signing.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()

    def sign(self, message: str) -> str:
        """A signature, in base64."""
        return base64.b64encode(self.signing.sign(message.encode())).decode()

    def pseudonym(self, key: UserPath) -> str:
        """The user's name in the log: always the same, and nobody's without the key; 32 hexadecimal digits."""
        return hmac.new(self.naming, key.prefix.encode(), hashlib.sha256).hexdigest()[:_PSEUDONYM_LENGTH]

    def vouch(self, key: UserPath, message: str) -> str:
        """What only this tenant's store can say of a message about that user; 64 hexadecimal digits."""
        return hmac.new(self.vacating, f"{key.prefix}\n{message}".encode(), hashlib.sha256).hexdigest()


def is_signed(message: str, *, signature: str, public_key: str) -> bool:
    """Whether the holder of that key signed this; False for what is no signature or no key, too."""
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key))
        data = base64.b64decode(signature, validate=True)
        if base64.b64encode(data).decode() != signature:  # another spelling of the same
            return False
        key.verify(data, message.encode())
    except (ValueError, TypeError, binascii.Error, InvalidSignature):
        return False
    return True


class AuditKeyRing:
    """The audit keys of all tenants, each kept as `<tenant>/.audit`, wrapped by a root key; safe for many threads."""

    def __init__(self, *, objects: ObjectStorage, logs: ObjectStorage, provider: KeyProvider) -> None:
        """``logs`` is where the tenants' logs are: where there is one, its key is not made anew."""
        self._objects = objects
        self._logs = logs
        self._provider = provider
        self._tenants: dict[str, AuditKeys] = {}

    def of(self, scope: TenantScope) -> AuditKeys:
        """The tenant's keys, made at the first use."""
        found = self._tenants.get(scope.tenant)
        while found is None:
            present = self._objects.read(_name(scope))
            if present is not None:
                found = AuditKeys.from_secret(self._provider.unwrap(present.data, tenant=scope.tenant))
                break
            # The key is made before the log: whoever sees the log sees the key after it.
            if self._logs.folders(f"{scope.prefix}.audit/", limit=1) and self._objects.read(_name(scope)) is None:
                raise StoreCorrupt("The key of a tenant's audit log is missing; restore the key storage from a backup.")
            try:
                made = self._provider.wrap(os.urandom(KEY_BYTES), tenant=scope.tenant)
                self._objects.swap(_name(scope), made, expected=None)
            except ObjectChanged:  # somebody else was first
                continue
        self._tenants[scope.tenant] = found
        return found

    def rotate_root(self, scope: TenantScope) -> int:
        """Wraps the tenant's secret by the provider's current root key; how many were wrapped by another one."""
        while True:
            present = self._objects.read(_name(scope))
            if present is None or self._provider.root_of(present.data) == self._provider.current:
                return 0
            secret = self._provider.unwrap(present.data, tenant=scope.tenant)
            if len(secret) != KEY_BYTES:
                raise StoreCorrupt("The audit key of a tenant cannot be read; restore the key storage from a backup.")
            try:
                self._objects.swap(_name(scope), self._provider.wrap(secret, tenant=scope.tenant), expected=present.tag)
            except ObjectChanged:
                continue
            return 1


def _name(scope: TenantScope) -> str:
    return f"{scope.prefix}.audit"
