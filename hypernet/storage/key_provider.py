"""Root keys: who holds them wraps and unwraps the tenants' keys, and nothing else in the store ever sees one."""

import base64
import binascii
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from hypernet.durable_files import replace_file, sync_folder
from hypernet.errors import SettingsError, StoreCorrupt
from hypernet.storage.sealing import KEY_BYTES, KEY_ID_LENGTH, DataKey, key_id_of, new_key, seal, unseal

_KIND = "tenant-key"


@runtime_checkable
class KeyProvider(Protocol):
    """Wraps tenants' keys. One over a key management service sends them there and holds no secret itself."""

    @property
    def current(self) -> str:
        """Name of the root key that `wrap` uses now."""
        ...

    def wrap(self, secret: bytes, *, tenant: str) -> bytes:
        """``secret`` encrypted under the current root key, bound to the tenant."""
        ...

    def unwrap(self, wrapped: bytes, *, tenant: str) -> bytes:
        """What `wrap` was given. Raises: `StoreCorrupt` for another tenant's or a root key that is not held."""
        ...

    def root_of(self, wrapped: bytes) -> str:
        """Name of the root key that wrapped it. Raises: `StoreCorrupt`."""
        ...


class HeldKeys:
    """A `KeyProvider` that holds its root keys in memory, the current one first."""

    def __init__(self, keys: list[DataKey]) -> None:
        if not keys:
            raise SettingsError("There is no root key; `hypernet store keygen` makes one.")
        self._keys = {key.key_id: key for key in keys}
        self._current = keys[0]

    @property
    def current(self) -> str:
        """As `KeyProvider.current`."""
        return self._current.key_id

    def wrap(self, secret: bytes, *, tenant: str) -> bytes:
        """As `KeyProvider.wrap`."""
        return seal(secret, key=self._current, place=(_KIND, tenant))

    def unwrap(self, wrapped: bytes, *, tenant: str) -> bytes:
        """As `KeyProvider.unwrap`."""
        try:
            key = self._keys[self.root_of(wrapped)]
        except KeyError:
            raise StoreCorrupt(
                "A tenant's key was wrapped by a root key that is not held; give all root keys that are still in use."
            ) from None
        return unseal(wrapped, key=key, place=(_KIND, tenant))

    def root_of(self, wrapped: bytes) -> str:
        """As `KeyProvider.root_of`."""
        return key_id_of(wrapped)


def keys_from_text(text: str, *, source: str) -> HeldKeys:
    """Root keys from the JSON that `keys_to_text` writes; ``source`` names where it came from, for the message.

    Raises: `SettingsError`, without a word of what was read.
    """
    try:
        content: Mapping[str, Any] = json.loads(text)
        keys = [DataKey(key_id=key["id"], secret=base64.b64decode(key["secret"])) for key in content["keys"]]
        sound = all(
            len(bytes.fromhex(key.key_id)) * 2 == KEY_ID_LENGTH and len(key.secret) == KEY_BYTES for key in keys
        )
    except (ValueError, KeyError, TypeError, binascii.Error):
        sound = False
    if not sound:
        raise SettingsError(
            f'{source} does not hold root keys: expected {{"keys": [{{"id": ..., "secret": ...}}, ...]}}, the current '
            "one first, as `hypernet store keygen` writes it."
        )
    return HeldKeys(keys)


def keys_to_text(keys: list[DataKey]) -> str:
    """Root keys as JSON, the current one first."""
    found = [{"id": key.key_id, "secret": base64.b64encode(key.secret).decode()} for key in keys]
    return json.dumps({"keys": found}, indent=1) + "\n"


def keys_from_file(path: Path) -> HeldKeys:
    """Root keys from a file that nobody else may read. Raises: `SettingsError`."""
    try:
        if path.stat().st_mode & 0o077:
            raise SettingsError(f"The root key file {path} can be read by others; chmod 600 it.")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"Cannot read the root key file {path}: {type(error).__name__}.") from None
    return keys_from_text(text, source=f"The root key file {path}")


def make_key_file(path: Path) -> None:
    """Writes a file with a new root key unless there is a file already; of many that try, one does.

    Raises: `SettingsError` where it cannot be written.
    """
    made = path.with_name(f".{path.name}.{os.getpid()}.{new_key().key_id[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(made, keys_to_text([new_key()]).encode())
        try:
            os.link(made, path)  # refuses where there is one
            sync_folder(path.parent)
        except FileExistsError:
            pass
        finally:
            made.unlink()
    except OSError as error:
        raise SettingsError(
            f"Cannot write the root key file {path}: {error.strerror or type(error).__name__}. Check its folder."
        ) from None
