"""`hypernet store audit`, `verify-audit` and `verify-receipt`: what was done, and whether that can be believed."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypernet.cli.local_store import local_store
from hypernet.cli.output import print_fields, print_json
from hypernet.durable_files import replace_file
from hypernet.errors import InvalidRequest, StoreCorrupt
from hypernet.settings import Settings
from hypernet.storage.audit_check import Anchor
from hypernet.storage.audit_log import read_line
from hypernet.storage.receipts import Receipt


def print_log(settings: Settings, *, user: str | None) -> None:
    """Prints the tenant's audit log as it is written; of one user, only the lines about them."""
    with local_store(settings) as (store, scope):
        pseudonym = None if user is None else store.pseudonym(scope.user(user))
        for line in store.audit_lines(scope):
            content = read_line(line)
            if pseudonym is None or (content is not None and content.get("user") == pseudonym):
                # Somebody may have put other bytes there: they are shown, and do nothing to the terminal.
                sys.stdout.write(line.decode(errors="backslashreplace") if content else ascii(line))
                sys.stdout.write("\n")


def verify_log(settings: Settings, *, anchor: Path | None, as_json: bool) -> bool:
    """Prints what is wrong with the tenant's audit log; whether nothing is. Raises `InvalidRequest`."""
    earlier = _read_anchor(anchor) if anchor is not None else {}
    with local_store(settings) as (store, scope):
        found = store.verify_audit(scope, anchor=earlier)
        public_key = store.audit_key(scope)
    if anchor is not None and not found.problems:
        _write(anchor, json.dumps(found.heads, indent=1) + "\n")
    _report(
        {
            "public_key": public_key,
            "lines": found.lines,
            "lanes": len(found.heads),
            "compared": anchor is not None and bool(earlier),
        },
        problems=found.problems,
        as_json=as_json,
    )
    return not found.problems


def verify_receipt_file(file: Path, *, public_key: str | None, log: Path | None, as_json: bool) -> bool:
    """Prints what is wrong with a receipt; whether nothing is. Raises `InvalidRequest`."""
    try:
        receipt = Receipt.from_bytes(_read(file))
    except StoreCorrupt as error:
        raise InvalidRequest(error.message) from None
    problems = receipt.problems(public_key=public_key, log=None if log is None else _lines(log))
    line = receipt.line
    _report(
        {name: line.get(name) for name in ("event", "at", "user", "objects", "bytes", "keys")}
        | {"signed_by": receipt.public_key, "compared": public_key is not None, "in_log": log is not None},
        problems=problems,
        as_json=as_json,
    )
    return not problems


def _report(fields: dict[str, Any], *, problems: list[str], as_json: bool) -> None:
    status = "sound" if not problems else "not sound"
    if as_json:
        print_json(fields | {"status": status, "problems": problems})
        return
    print_fields(fields | {"status": status})
    for problem in problems:
        print_fields({"problem": problem})


def _read_anchor(path: Path) -> Anchor:
    if not path.exists():
        return {}
    try:
        return {str(lane): (int(count), str(hash_)) for lane, (count, hash_) in json.loads(_read(path)).items()}
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError):
        raise InvalidRequest(f"{path} is not what an earlier check wrote. Name that file, or a new one.") from None


def _lines(path: Path) -> Iterator[bytes]:
    return iter(_read(path).splitlines())


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidRequest(f"Cannot read {path}: {error.strerror}.") from None


def _write(path: Path, text: str) -> None:
    try:
        replace_file(path, text.encode())
    except OSError as error:
        raise InvalidRequest(f"Cannot write {path}: {error.strerror}.") from None
