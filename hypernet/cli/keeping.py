"""`hypernet store`: what an operator does to a store as a whole."""

from pathlib import Path

from rich.progress import track

from hypernet.cli.local_store import local_store
from hypernet.cli.output import print_fields, print_json
from hypernet.errors import InvalidRequest
from hypernet.settings import Settings
from hypernet.storage.key_provider import make_key_file


def write_keys(path: Path, *, as_json: bool) -> None:
    """Writes a file with a new root key; raises `InvalidRequest` where there is a file already."""
    if path.exists():
        raise InvalidRequest(f"{path} is there already, and what it holds may be in use. Name another file.")
    make_key_file(path)
    _report({"root keys": str(path), "next": f"set HYPERNET_ROOT_KEYS_FILE={path} and keep a copy of it"}, as_json)


def sweep(settings: Settings, *, as_json: bool) -> None:
    """Removes what nothing refers to and prints how much it was."""
    users, removed, unreadable = 0, 0, 0
    with local_store(settings) as (store, scope):
        swept = store.sweep_tenant(scope)
        for count in swept if as_json else track(swept, description="sweeping", transient=True):
            users += 1
            removed += count or 0
            unreadable += count is None
    _report({"looked_at": users, "removed": removed, "unreadable": unreadable}, as_json)


def rotate(settings: Settings, *, as_json: bool) -> None:
    """Wraps the tenant's keys by the current root key, then its users' keys by a new tenant key."""
    with local_store(settings) as (store, scope):
        tenants = store.rotate_root_key(scope)
        users = store.rotate_tenant_key(scope)
    _report({"tenant_keys_wrapped": tenants, "user_keys_wrapped": users}, as_json)


def _report(found: dict[str, object], as_json: bool) -> None:
    if as_json:
        print_json(found)
    else:
        print_fields(found)
