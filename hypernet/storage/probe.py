"""Whether a server keeps the conditions that the store stands on; "speaks S3" alone does not say so."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from hypernet.errors import ObjectChanged, StoreUnavailable
from hypernet.storage.object_storage import ObjectStorage
from hypernet.storage.s3 import S3Objects

_WRITERS = 8
_ROUNDS = 3


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was tried, and whether the server did as it must."""

    name: str
    kept: bool


def probe(objects: ObjectStorage) -> list[Finding]:
    """Tries every promise in turn, on objects under a prefix of its own that are gone afterwards; some forty requests.

    Raises: `StoreUnavailable` where the server does not answer at all.
    """
    folder = f".probe/{os.urandom(8).hex()}/"
    checks: dict[str, Callable[[ObjectStorage, str], bool]] = {
        "what was written is read": _reads_its_writes,
        "what was written is listed": _lists_its_writes,
        "what was removed is gone": _removes,
        "a second creation is refused": _refuses_a_second_creation,
        "a change of an old state is refused": _refuses_a_stale_change,
        "a change of nothing is refused": _refuses_a_change_of_nothing,
        "of many creations at once, one is made": _has_one_creator,
        "of many changes at once, one is made": _has_one_changer,
    }
    try:
        findings = [
            Finding(name=name, kept=check(objects, f"{folder}{index}"))
            for index, (name, check) in enumerate(checks.items())
        ]
    finally:
        _clean(objects, folder)
    if isinstance(objects, S3Objects):
        findings.append(Finding(name="the bucket is not versioned", kept=not objects.is_versioned()))
    return findings


def require(objects: ObjectStorage) -> None:
    """Returns if every promise is kept. Raises: `StoreUnavailable` naming those that are not."""
    broken = [finding.name for finding in probe(objects) if not finding.kept]
    if broken:
        raise StoreUnavailable(
            f"This server cannot hold a store, since it does not keep: {'; '.join(broken)}. Use a server that keeps "
            "conditional writes (MinIO, Amazon S3, Ceph), and a bucket without versions."
        )


def _clean(objects: ObjectStorage, folder: str) -> None:
    try:
        for name in objects.names(folder):
            objects.remove(name)
    except StoreUnavailable:
        pass  # it is nobody's, and what went wrong before is what is to be told


def _reads_its_writes(objects: ObjectStorage, name: str) -> bool:
    objects.write(name, b"first")
    present = objects.read(name)
    return present is not None and present.data == b"first" and objects.read(f"{name}-absent") is None


def _lists_its_writes(objects: ObjectStorage, name: str) -> bool:
    objects.write(f"{name}/one/object", b"listed")
    return objects.names(f"{name}/") == {f"{name}/one/object": 6} and objects.folders(f"{name}/") == ["one"]


def _removes(objects: ObjectStorage, name: str) -> bool:
    objects.write(name, b"removed")
    objects.remove(name)
    return objects.read(name) is None


def _refuses_a_second_creation(objects: ObjectStorage, name: str) -> bool:
    objects.swap(name, b"first", expected=None)
    return not _swaps(objects, name, b"second", None) and _is(objects, name, b"first")


def _refuses_a_stale_change(objects: ObjectStorage, name: str) -> bool:
    stale = objects.swap(name, b"first", expected=None)
    objects.swap(name, b"second", expected=stale)
    return not _swaps(objects, name, b"third", stale) and _is(objects, name, b"second")


def _refuses_a_change_of_nothing(objects: ObjectStorage, name: str) -> bool:
    tag = objects.swap(name, b"first", expected=None)
    objects.remove(name)
    return not _swaps(objects, name, b"second", tag) and objects.read(name) is None


def _has_one_creator(objects: ObjectStorage, name: str) -> bool:
    return all(_winners(objects, f"{name}-{round_}", None) == 1 for round_ in range(_ROUNDS))


def _has_one_changer(objects: ObjectStorage, name: str) -> bool:
    for round_ in range(_ROUNDS):
        tag = objects.swap(f"{name}-{round_}", b"first", expected=None)
        if _winners(objects, f"{name}-{round_}", tag) != 1:
            return False
    return True


def _winners(objects: ObjectStorage, name: str, expected: str | None) -> int:
    with ThreadPoolExecutor(_WRITERS) as pool:
        return sum(pool.map(lambda writer: _swaps(objects, name, b"writer %d" % writer, expected), range(_WRITERS)))


def _swaps(objects: ObjectStorage, name: str, data: bytes, expected: str | None) -> bool:
    try:
        objects.swap(name, data, expected=expected)
    except ObjectChanged:
        return False
    return True


def _is(objects: ObjectStorage, name: str, data: bytes) -> bool:
    present = objects.read(name)
    return present is not None and present.data == data
