"""API keys: who may call, and for which tenant."""

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from hypernet.errors import AuthenticationError, SettingsError
from hypernet.settings import Settings
from hypernet.storage import TenantScope

MIN_KEY_CHARACTERS = 16


@dataclass(frozen=True, kw_only=True)
class KeyRing:
    """Which key belongs to which tenant.

    Holds the keys' SHA-256 only, so that copies of it (Ray keeps some) give no key away. Looking a digest up takes the
    same time whatever was sent: the caller cannot steer the digest, so there is no prefix of it to guess.
    """

    scopes: Mapping[str, TenantScope]

    @classmethod
    def from_keys(cls, keys: Mapping[str, str]) -> Self:
        """The ring of `keys`, key to tenant; raises `SettingsError` on a short key, `InvalidName` on a bad tenant."""
        for position, key in enumerate(keys):
            if len(key) < MIN_KEY_CHARACTERS:
                raise SettingsError(
                    f"API key number {position + 1} has {len(key)} characters, expected at least {MIN_KEY_CHARACTERS}."
                )
        return cls(scopes={_digest(key): TenantScope(tenant) for key, tenant in keys.items()})

    def scope_of(self, authorization: str | None) -> TenantScope:
        """The tenant scope of an `Authorization` header; raises `AuthenticationError`, the same for any unknown key."""
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise AuthenticationError("Expected an API key in the header 'Authorization: Bearer <key>'.")
        scope = self.scopes.get(_digest(key.strip()))
        if scope is None:
            raise AuthenticationError("The API key is not known here.")
        return scope


def read_keys(settings: Settings) -> dict[str, str]:
    """The configured keys, key to tenant; empty where none is configured. Raises `SettingsError`."""
    if settings.api_keys is not None and settings.api_keys_file is not None:
        raise SettingsError("Give HYPERNET_API_KEYS or HYPERNET_API_KEYS_FILE, not both.")
    if settings.api_keys is not None:
        return _parse(settings.api_keys.get_secret_value(), source="HYPERNET_API_KEYS")
    if settings.api_keys_file is not None:
        try:
            content = settings.api_keys_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"Cannot read {settings.api_keys_file}: {type(error).__name__}.") from error
        return _parse(content, source=str(settings.api_keys_file))
    return {}


def new_key() -> str:
    """A fresh key of 256 random bits."""
    return "hk_" + secrets.token_urlsafe(32)


def _parse(content: str, *, source: str) -> dict[str, str]:
    expected = f'Expected {source} to hold one JSON object of keys to tenants, like {{"a-long-secret": "acme"}}'
    try:
        keys = json.loads(content)
    except ValueError:
        # `from None`: the original quotes the content, which is secret.
        raise SettingsError(f"{expected}; it is not JSON.") from None
    if not isinstance(keys, dict) or not keys or not all(isinstance(tenant, str) for tenant in keys.values()):
        raise SettingsError(f"{expected}; got another shape.")
    return keys


def _digest(key: str) -> str:
    # Header values arrive as latin-1 text, so every character has a byte; a key from settings may hold any.
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
