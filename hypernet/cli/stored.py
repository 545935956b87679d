"""`hypernet adapters`: what is in the store on this machine."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypernet.cli.exporting import write_adapter
from hypernet.cli.local_store import local_store
from hypernet.cli.output import print_fields, print_json, print_table
from hypernet.errors import AdapterNotFound, InvalidRequest, StoreCorrupt
from hypernet.settings import Settings
from hypernet.storage import StoredAdapter
from hypernet.storage.receipts import Receipt

_PAGE = 500


def list_stored(settings: Settings, *, as_json: bool) -> None:
    """Prints every user and their active adapter."""
    found: list[StoredAdapter] = []
    with local_store(settings) as (store, scope):
        after = None
        while users := store.users(scope, after=after, limit=_PAGE):
            found += [store.head(scope.user(user)) for user in users]
            after = users[-1]
    if as_json:
        print_json([describe(stored) for stored in found])
        return
    print_table(
        ["user", "version", "digest", "rank", "size", "created"],
        [
            [stored.user, stored.version, stored.digest[:12], stored.rank, _size(stored.size_bytes), _time(stored)]
            for stored in found
        ],
    )


def show_stored(settings: Settings, user: str, *, as_json: bool) -> None:
    """Prints a user's adapter and its versions; raises `AdapterNotFound`."""
    with local_store(settings) as (store, scope):
        versions = store.versions(scope.user(user))
    if as_json:
        print_json({"user": user, "versions": [describe(stored) for stored in versions]})
        return
    active = next(stored for stored in versions if stored.active)
    print_fields({name: value for name, value in describe(active).items() if name != "active"})
    print_table(
        ["version", "", "digest", "size", "created"],
        [
            [
                stored.version,
                "active" if stored.active else "",
                stored.digest[:12],
                _size(stored.size_bytes),
                _time(stored),
            ]
            for stored in reversed(versions)
        ],
    )


def export_stored(settings: Settings, user: str, out: Path, *, version: int | None, as_json: bool) -> None:
    """Writes a user's adapter in PEFT format; raises `AdapterNotFound`, `VersionNotFound` and `InvalidRequest`."""
    with local_store(settings) as (store, scope):
        stored, adapter = store.get(scope.user(user), version=version)
    write_adapter(adapter, out)
    report = {"digest": stored.digest, "version": stored.version, "out": str(out)}
    if as_json:
        print_json(report)
    else:
        print_fields(report)


def erase_stored(
    settings: Settings, user: str, *, confirm: Callable[[int], None], receipt: Path | None, as_json: bool
) -> None:
    """Erases a user unless `confirm`, given the number of versions, raises; prints the receipt, or writes it.

    The number is 0 where the adapter can no longer be read. Without an adapter, the receipt of the last erasure is
    given again. Raises `AdapterNotFound`, `InvalidRequest`.
    """
    with local_store(settings) as (store, scope):
        key = scope.user(user)
        try:
            confirm(len(store.versions(key)))
        except AdapterNotFound:
            pass  # perhaps an erasure that was cut short
        except StoreCorrupt:
            confirm(0)
        try:
            found = store.erase(key)
        except AdapterNotFound:
            receipts = store.receipts(key)
            if not receipts:
                raise
            found = receipts[-1]
    if receipt is not None:
        _write_receipt(found, receipt)
    if as_json:
        print_json(found.to_dict())
        return
    names = ("at", "objects", "bytes", "user", "change")
    keys = ", ".join(f"{key['id']} (sha256 {key['sha256']})" for key in found.line["keys"])
    print_fields(
        {name: found.line[name] for name in names}
        | {"keys destroyed": keys, "signed by": found.public_key}
        | ({} if receipt is None else {"receipt": receipt})
    )


def _write_receipt(receipt: Receipt, path: Path) -> None:
    try:
        path.write_text(json.dumps(receipt.to_dict(), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise InvalidRequest(
            f"The user is erased, but the receipt cannot be written to {path}: {error.strerror}. The same command with "
            "another file writes it."
        ) from None


def describe(stored: StoredAdapter) -> dict[str, Any]:
    """Every field of a stored version, ready for JSON."""
    return {
        "user": stored.user,
        "version": stored.version,
        "active": stored.active,
        "digest": stored.digest,
        "rank": stored.rank,
        "size_bytes": stored.size_bytes,
        "created_at": stored.created_at.isoformat(),
        "base_model_digest": stored.base_model_digest,
        "document_digest": stored.document_digest,
    }


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1024:.0f} KiB" if size_bytes < 1 << 20 else f"{size_bytes / (1 << 20):.1f} MiB"


def _time(stored: StoredAdapter) -> str:
    return stored.created_at.astimezone().strftime("%Y-%m-%d %H:%M")
