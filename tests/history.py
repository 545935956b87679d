"""Many writers and readers of one store while its storage fails, and whether what they saw is linearizable.

    python -m tests.history [--operations 100000] [--workers 16] [--users 200] [--storage memory|directory] [--defect]

Prints one JSON line; exits 1 where the history is not linearizable. With `--defect` the storage looks before it swaps
instead of doing both in one step: then it must not be.

The check takes linear time, because every write has a digest of its own and versions number the writes of a user: there
is only one order that they can have been made in. Source for the method: P. Gibbons and E. Korach, "Testing shared
memories", SIAM J. Comput. 26(4), 1997.
"""

import argparse
import itertools
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from hypernet.errors import AdapterNotFound, ObjectChanged, PreconditionFailed, StoreUnavailable
from hypernet.storage import AdapterStore, TenantScope
from hypernet.storage.directory import DirectoryObjects
from hypernet.storage.key_provider import HeldKeys
from hypernet.storage.memory import MemoryObjects
from hypernet.storage.object_storage import ObjectStorage, StoredObject
from hypernet.storage.sealing import new_key
from tests.samples import sample_adapter, sample_provenance
from tests.storages import Wrapped

SCOPE = TenantScope("acme")
NEVER = float("inf")


@dataclass(frozen=True, kw_only=True)
class Operation:
    """What one worker asked and heard."""

    user: str
    kind: str
    """`put`, or `get`."""
    digest: str | None
    """What was put; None for a read."""
    version: int | None
    """The version that was made, or read; 0 where there was none, None where no answer came."""
    outcome: str
    """`ok`; `refused`: surely not made; `unknown`: made or not."""
    began: float
    ended: float


class Failing(Wrapped):
    """A storage whose every call may fail before it does anything, or after, or twice, or be slow."""

    def __init__(self, inner: ObjectStorage, *, share: float, counts: Counter[str]) -> None:
        super().__init__(inner)
        self._share = share
        self._counts = counts

    def read(self, name: str) -> StoredObject | None:
        fault = self._fault("time-out", "slow read")
        if fault == "time-out":
            raise StoreUnavailable("no answer")
        found = self.inner.read(name)
        if fault == "slow read":
            time.sleep(0.002)
        return found

    def write(self, name: str, data: bytes) -> None:
        fault = self._fault("reset", "500", "lost acknowledgement", "duplicate")
        if fault in ("reset", "500"):
            raise StoreUnavailable("not written")
        self.inner.write(name, data)
        if fault == "duplicate":
            self.inner.write(name, data)
        if fault == "lost acknowledgement":
            raise StoreUnavailable("no answer")

    def swap(self, name: str, data: bytes, *, expected: str | None) -> str:
        fault = self._fault("reset", "500", "lost acknowledgement", "lost acknowledgement, tried again", "duplicate")
        if fault in ("reset", "500"):
            raise StoreUnavailable("not written")
        tag = self.inner.swap(name, data, expected=expected)
        if fault == "lost acknowledgement":
            raise StoreUnavailable("no answer")
        if fault == "duplicate":
            try:
                self.inner.swap(name, data, expected=expected)
            except ObjectChanged:
                pass
        if fault == "lost acknowledgement, tried again":
            time.sleep(0.001)
            present = self.inner.read(name)
            if present is None or present.data != data:
                raise ObjectChanged("changed", unsure=True)
        return tag

    def _fault(self, *kinds: str) -> str | None:
        if random.random() >= self._share:
            return None
        kind = random.choice(kinds)
        self._counts[kind] += 1
        return kind


class Hesitating(Wrapped):
    """The planted race: a storage that looks first and swaps then."""

    def swap(self, name: str, data: bytes, *, expected: str | None) -> str:
        present = self.inner.read(name)
        if (None if present is None else present.tag) != expected:
            raise ObjectChanged("changed")
        time.sleep(0.0005)
        while True:
            latest = self.inner.read(name)
            try:
                return self.inner.swap(name, data, expected=None if latest is None else latest.tag)
            except ObjectChanged:
                continue


def record(store: AdapterStore, *, operations: int, workers: int, users: int) -> list[Operation]:
    """The history of that many operations, four in ten of them writes, half of those on a condition."""
    numbers = itertools.count()
    lock = threading.Lock()
    history: list[Operation] = []

    def work(worker: int) -> None:
        draw = random.Random(worker)
        known: dict[str, int] = {}
        while True:
            with lock:
                number = next(numbers)
            if number >= operations:
                return
            user = f"user{draw.randrange(users)}"
            made = operate(store, user, number, draw, known)
            with lock:
                history.append(made)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, range(workers)))
    return history


def operate(store: AdapterStore, user: str, number: int, draw: random.Random, known: dict[str, int]) -> Operation:
    """One operation; ``known`` holds the version of each user that this worker has seen last."""
    key, digest, version, outcome = SCOPE.user(user), None, None, "ok"
    writes = draw.random() < 0.4
    adapter = None
    if writes:
        adapter = sample_adapter(0, provenance=sample_provenance(document_digest=f"{number:064x}"))
        digest = adapter.digest
    began = time.monotonic()
    try:
        if adapter is not None:
            expected = known.get(user, 0) if draw.random() < 0.5 else None
            version = store.put(key, adapter, if_version=expected).version
        else:
            stored = store.get(key)[0] if draw.random() < 0.3 else store.head(key)
            version, digest = stored.version, stored.digest
    except AdapterNotFound:
        version = 0
    except PreconditionFailed as error:
        outcome, known[user] = "refused", int(error.actual or 0)
    except StoreUnavailable:
        outcome = "unknown"
    ended = time.monotonic()
    if version is not None:
        known[user] = version
    kind = "put" if writes else "get"
    return Operation(user=user, kind=kind, digest=digest, version=version, outcome=outcome, began=began, ended=ended)


def check(history: list[Operation], final: dict[str, list[str]]) -> list[str]:
    """What contradicts linearizability, in words; ``final`` holds digests of each user's versions, oldest first."""
    broken = []
    of_user = defaultdict(list)
    for operation in history:
        of_user[operation.user].append(operation)
    for user, digests in final.items():
        broken += [f"{user}: {problem}" for problem in _check_user(of_user[user], digests)]
    return broken


def _check_user(operations: list[Operation], digests: list[str]) -> list[str]:
    puts = {operation.digest: operation for operation in operations if operation.kind == "put"}
    places = {digest: place for place, digest in enumerate(digests, start=1)}
    problems = []
    if len(places) != len(digests):
        problems.append("a write was made twice")
    for digest, put in puts.items():
        if put.outcome == "ok" and places.get(digest) != put.version:
            problems.append(f"the acknowledged version {put.version} is not there")
        if put.outcome == "refused" and digest in places:
            problems.append("a refused write was made")
    reads = [operation for operation in operations if operation.kind == "get" and operation.outcome == "ok"]
    # When each version was surely there at the latest, and there at the earliest.
    began = [0.0] + [puts[digest].began if digest in puts else 0.0 for digest in digests]
    known = [NEVER] + [
        puts[digest].ended if digest in puts and puts[digest].outcome == "ok" else NEVER for digest in digests
    ]
    for read in reads:
        if read.version and (read.version > len(digests) or digests[read.version - 1] != read.digest):
            problems.append("a read gave what was never there")
        elif read.version:
            known[read.version] = min(known[read.version], read.ended)
    # Whoever knows a version knows that all before it were there.
    for version in reversed(range(1, len(known) - 1)):
        known[version] = min(known[version], known[version + 1])
    latest_begin = 0.0
    for version in range(1, len(began)):
        latest_begin = max(latest_begin, began[version])
        if known[version] < latest_begin:
            problems.append(f"version {version} was known before a version up to it was asked for")
    for read in reads:
        version = read.version or 0
        if version + 1 < len(known) and known[version + 1] < read.began:
            problems.append(f"a read gave version {version} after version {version + 1} was known")
    return problems


def run(
    *, operations: int, workers: int, users: int, storage: str = "memory", defect: bool = False, share: float = 0.02
) -> dict[str, object]:
    """Record a history, check it, and say what came of it."""
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        sound: ObjectStorage = MemoryObjects() if storage == "memory" else DirectoryObjects(Path(folder) / "adapters")
        keys: ObjectStorage = MemoryObjects() if storage == "memory" else DirectoryObjects(Path(folder) / "keys")
        provider = HeldKeys([new_key()])
        failing = Failing(Hesitating(sound) if defect else sound, share=share, counts=counts)
        store = AdapterStore(objects=failing, keys=Failing(keys, share=share, counts=counts), provider=provider)
        start = time.monotonic()
        history = record(store, operations=operations, workers=workers, users=users)
        seconds = time.monotonic() - start
        quiet = AdapterStore(objects=sound, keys=keys, provider=provider)
        final = {}
        for user in {operation.user for operation in history}:
            try:
                final[user] = [stored.digest for stored in quiet.versions(SCOPE.user(user))]
            except AdapterNotFound:
                final[user] = []
    broken = check(history, final)
    outcomes = Counter(f"{operation.kind} {operation.outcome}" for operation in history)
    return {
        "operations": len(history),
        "workers": workers,
        "users": users,
        "storage": storage,
        "defect": defect,
        "outcomes": dict(sorted(outcomes.items())),
        "faults": dict(sorted(counts.items())),
        "versions": sum(map(len, final.values())),
        "seconds": round(seconds, 1),
        "violations": len(broken),
        "first": broken[:3],
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operations", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--storage", choices=["memory", "directory"], default="memory")
    parser.add_argument("--defect", action="store_true", help="plant a race, which the check must find")
    found = run(**vars(parser.parse_args()))
    sys.stdout.write(json.dumps(found) + "\n")
    sys.exit(1 if found["violations"] else 0)


if __name__ == "__main__":
    main()
