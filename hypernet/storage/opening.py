"""The store that the settings name."""

import re
from urllib.parse import urlsplit

from hypernet.errors import SettingsError
from hypernet.settings import Settings
from hypernet.storage.key_provider import KeyProvider, keys_from_file, keys_from_text, make_key_file
from hypernet.storage.pointer import Retention
from hypernet.storage.probe import require
from hypernet.storage.s3 import S3Objects, Server
from hypernet.storage.store import AdapterStore

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
ROOT_KEY_FILE = "root-key.json"
"""Of a directory store, in its folder, where the settings name no other."""


def open_store(settings: Settings) -> AdapterStore:
    """The store of the settings: a directory, or buckets of an S3 server, whose conditions are tried out first.

    Raises: `SettingsError`, `StoreUnavailable`.
    """
    retention = Retention(versions=settings.keep_versions, days=settings.keep_days)
    if settings.store_url is None:
        return AdapterStore.in_directory(settings.store_dir, provider=_provider(settings), retention=retention)
    provider = _provider(settings)
    _check_apart(settings.store_url, keys_url(settings))
    objects, keys = (bucket(settings, url) for url in (settings.store_url, keys_url(settings)))
    for storage in (objects, keys):
        storage.check()
        require(storage)
    return AdapterStore(
        objects=objects, keys=keys, provider=provider, retention=retention, cache_bytes=settings.store_cache_bytes
    )


def keys_url(settings: Settings) -> str:
    """Where the keys of a store in a bucket lie: by default in another bucket, named `-keys` behind it."""
    if settings.keys_url is not None:
        return settings.keys_url
    bucket, _, prefix = str(settings.store_url).removeprefix("s3://").partition("/")
    return f"s3://{bucket}-keys/{prefix}"


def _check_apart(store_url: str, keys: str) -> None:
    """Returns if neither address is inside the other: a sweep of one would remove what lies in the other."""
    one, other = (f"{url.removeprefix('s3://').strip('/')}/" for url in (store_url, keys))
    if one.startswith(other) or other.startswith(one):
        raise SettingsError(
            "Adapters and keys have to lie apart, neither inside the other. Set HYPERNET_KEYS_URL to another bucket, "
            "or to another prefix."
        )


def _provider(settings: Settings) -> KeyProvider:
    if settings.root_keys is not None:
        return keys_from_text(settings.root_keys.get_secret_value(), source="HYPERNET_ROOT_KEYS")
    path = settings.root_keys_file
    if path is None:
        if settings.store_url is not None:
            raise SettingsError(
                "A store in a bucket needs root keys: write some with `hypernet store keygen FILE` and set "
                "HYPERNET_ROOT_KEYS_FILE=FILE. Keep a copy: without it no adapter can be read."
            )
        path = settings.store_dir / ROOT_KEY_FILE
        if not path.exists():
            make_key_file(path)
    return keys_from_file(path)


def bucket(settings: Settings, url: str) -> S3Objects:
    """The bucket of that address on the server of the settings; nothing is asked of it. Raises: `SettingsError`."""
    parts = urlsplit(url)
    if parts.scheme != "s3" or not _BUCKET.fullmatch(parts.netloc) or parts.query or parts.fragment:
        raise SettingsError(
            "A store's address is s3://BUCKET or s3://BUCKET/PREFIX, where a bucket's name has 3 to 63 lower-case "
            "letters, digits, dots and dashes; the server's is HYPERNET_S3_ENDPOINT."
        )
    if not (settings.s3_endpoint and settings.s3_access_key and settings.s3_secret_key):
        raise SettingsError(
            "A store in a bucket needs HYPERNET_S3_ENDPOINT (http://host:port or https://host), HYPERNET_S3_ACCESS_KEY "
            "and HYPERNET_S3_SECRET_KEY."
        )
    endpoint = urlsplit(settings.s3_endpoint)
    if endpoint.scheme not in ("http", "https") or not endpoint.netloc or endpoint.path.strip("/"):
        raise SettingsError("HYPERNET_S3_ENDPOINT is http://host:port or https://host, without a path.")
    prefix = parts.path.strip("/")
    return S3Objects(
        Server(
            endpoint=endpoint.netloc,
            bucket=parts.netloc,
            access_key=settings.s3_access_key.get_secret_value(),
            secret_key=settings.s3_secret_key,
            secure=endpoint.scheme == "https",
            region=settings.s3_region,
            prefix=f"{prefix}/" if prefix else "",
            timeout_s=settings.store_timeout_s,
        )
    )
