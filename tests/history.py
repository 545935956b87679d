"""Many writers and readers of several stores over one storage that fails, and whether what they saw is linearizable.

    python -m tests.history [--operations 100000] [--workers 16] [--users 200] [--storage memory|directory|s3]
                            [--defect race|lost|stale|torn|twice|no-fence] [--seed 0]

Prints one JSON line; exits 1 where the history is not linearizable. With `--defect` something is planted that breaks
the promise: then it must not be. The seed fixes what is asked and how the storage fails, not how threads meet.

The workers share a few stores, each with a key ring of its own, as several processes would have them. Beside them
another store sweeps users and wraps their keys anew, without a pause. From the top:

    AdapterStore      one for every few workers, and one for the maintenance
    Failing           time-outs, resets, 500s, lost answers, attempts made twice, slowness; for adapters and for keys
    the defect        where one is planted
    Recording         notes every state of every user's pointer, in the order in which they were made; for adapters only
    the storage       in memory, in a directory or on an S3 server; a client for every store

`Recording` makes changes of one user's pointer one after another, those of different users side by side: so the order
that it notes is the order that they were made in. Readers wait for nobody. Whose change it is it knows from the thread,
since a store changes pointers in its caller's. `tests.history_check` says what is checked, and why that is enough.
"""

import argparse
import faulthandler
import functools
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from hypernet.adapters import Adapter
from hypernet.errors import ObjectChanged, StoreCorrupt, StoreError, StoreUnavailable
from hypernet.storage import AdapterStore, Retention, StoredAdapter
from hypernet.storage.directory import DirectoryObjects
from hypernet.storage.memory import MemoryObjects
from hypernet.storage.object_storage import ObjectStorage, StoredObject, tag_of
from hypernet.storage.s3 import S3Objects, Server
from tests.history_check import (
    OK,
    UNKNOWN,
    Operation,
    Record,
    Recording,
    Request,
    check,
    digest_of,
    is_pointer,
    operate,
    read_in_the_end,
)
from tests.s3_server import running_server
from tests.samples import sample_adapter
from tests.storages import ACME, Storages, Wrapped, store_of

KEEP = 6
"""Versions of a user that are kept: few, so that some are pruned under a reader's hands."""
STORES = 3
"""Among which the workers are spread."""
MIX = {"put": 36, "get": 20, "head": 12, "versions": 8, "activate": 18, "erase": 6}
"""Operations of a hundred."""
MAINTENANCE = {"rotate_tenant_key": 1, "sweep_tenant": 1, "sweep": 20}
UNMADE = ("time-out", "reset", "500")
UNMADE_AT_FIRST = "reset, tried again"
UNHEARD_AT_FIRST = "lost answer, tried again"
SWITCH_S = 1e-4
"""How long a thread runs before another one may: a fiftieth of the usual, or whole operations would run alone."""

_Result = TypeVar("_Result")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is to be done, by how many, and over what."""

    operations: int
    workers: int
    users: int
    storage: str = "memory"
    defect: str | None = None
    seed: int = 0
    share: float = 0.02
    """Of the calls to a storage, those that fail somehow."""


class Doing(threading.local):
    """What the calling thread is at: which operation, how often its storage fails, and how its dice fall."""

    number: int | None = None
    share: float = 0
    draw = random.Random()

    def begin(self, number: int, plan: Plan) -> random.Random:
        """Begins an operation; its dice."""
        self.number, self.share, self.draw = number, plan.share, random.Random(f"{plan.seed} {number}")
        return self.draw


class Failing(Wrapped):
    """A storage whose every call may fail before it does anything, or after, be made twice, or be slow."""

    def __init__(self, inner: ObjectStorage, *, doing: Doing, counts: Counter[str]) -> None:
        super().__init__(inner)
        self._doing = doing
        self._counts = counts

    def read(self, name: str) -> StoredObject | None:
        return self._asked("read", lambda: self.inner.read(name))

    def names(self, prefix: str, *, after: str | None = None, limit: int | None = None) -> dict[str, int]:
        return self._asked("names", lambda: self.inner.names(prefix, after=after, limit=limit))

    def folders(self, prefix: str, *, after: str | None = None, limit: int = 1000) -> list[str]:
        return self._asked("folders", lambda: self.inner.folders(prefix, after=after, limit=limit))

    def settle(self, name: str) -> None:
        self._asked("settle", lambda: self.inner.settle(name))

    def write(self, name: str, data: bytes | bytearray) -> None:
        self._told("write", lambda: self.inner.write(name, data))

    def remove(self, name: str) -> None:
        self._told("remove", lambda: self.inner.remove(name))

    def remove_if(self, name: str, *, expected: str) -> bool:
        return self._told("remove_if", lambda: self.inner.remove_if(name, expected=expected))

    def swap(self, name: str, data: bytes, *, expected: str | None) -> str:
        def attempt() -> str:
            return self.inner.swap(name, data, expected=expected)

        def again() -> str:
            # As `S3Objects` has it: a second attempt may meet what the first one has made.
            try:
                return attempt()
            except ObjectChanged:
                present = self.inner.read(name)
                if present is not None and present.data == data:
                    return present.tag
                raise ObjectChanged("changed", unsure=True) from None

        return self._told("swap", attempt, again)

    def _asked(self, call: str, attempt: Callable[[], _Result]) -> _Result:
        fault = self._fault(call, *UNMADE, "slow", "slow")
        return self._slowly(attempt) if fault == "slow" else attempt()

    def _told(self, call: str, attempt: Callable[[], _Result], again: Callable[[], _Result] | None = None) -> _Result:
        fault = self._fault(call, *UNMADE, "slow", "duplicate", "lost answer", UNMADE_AT_FIRST, UNHEARD_AT_FIRST)
        if fault == "slow":
            return self._slowly(attempt)
        if fault == UNHEARD_AT_FIRST:
            with suppress(ObjectChanged):
                attempt()
        if fault in (UNMADE_AT_FIRST, UNHEARD_AT_FIRST):
            time.sleep(0.001)
            return (again or attempt)()
        result = attempt()
        if fault == "duplicate":
            time.sleep(0.001)
            with suppress(ObjectChanged):
                attempt()
        if fault == "lost answer":
            raise StoreUnavailable("done, and the answer lost")
        return result

    def _slowly(self, attempt: Callable[[], _Result]) -> _Result:
        before_s = self._doing.draw.choice([0.0, 0.002])
        time.sleep(before_s)
        result = attempt()
        time.sleep(0.002 - before_s)
        return result

    def _fault(self, call: str, *kinds: str) -> str | None:
        if self._doing.draw.random() >= self._doing.share:
            return None
        kind = self._doing.draw.choice(kinds)
        self._counts[f"{call}: {kind}"] += 1
        if kind in UNMADE:
            raise StoreUnavailable("nothing done")
        return kind


class Planted(Wrapped):
    """A defect of a storage, on pointers only."""

    def __init__(self, inner: ObjectStorage, doing: Doing) -> None:
        super().__init__(inner)
        self._doing = doing

    def _happens(self, name: str, share: float) -> bool:
        return is_pointer(name) and self._doing.draw.random() < share


class Hesitating(Planted):
    """It looks first and swaps then."""

    def swap(self, name: str, data: bytes, *, expected: str | None) -> str:
        if not is_pointer(name):
            return super().swap(name, data, expected=expected)
        present = self.inner.read(name)
        if (None if present is None else present.tag) != expected:
            raise ObjectChanged("changed")
        time.sleep(0.0005)
        while True:
            latest = self.inner.read(name)
            with suppress(ObjectChanged):
                return self.inner.swap(name, data, expected=None if latest is None else latest.tag)


class Losing(Planted):
    """It acknowledges what it has not written."""

    def swap(self, name: str, data: bytes, *, expected: str | None) -> str:
        return tag_of(data) if self._happens(name, 0.05) else super().swap(name, data, expected=expected)


class Stale(Planted):
    """It gives what was there before."""

    def __init__(self, inner: ObjectStorage, doing: Doing) -> None:
        super().__init__(inner, doing)
        self._states: dict[str, tuple[StoredObject | None, StoredObject | None]] = {}

    def read(self, name: str) -> StoredObject | None:
        latest = self.inner.read(name)
        older, newer = self._states.setdefault(name, (latest, latest))
        if latest != newer:
            self._states[name] = older, newer = newer, latest
        return older if self._happens(name, 0.06) else latest


class Tearing(Planted):
    """It gives what it has only half written."""

    def read(self, name: str) -> StoredObject | None:
        found = self.inner.read(name)
        if found is None or not self._happens(name, 0.04):
            return found
        return replace(found, data=found.data[: len(found.data) // 2])


class Twice(Planted):
    """It tries again where an answer was lost, and does not say so where the second attempt is refused."""

    def swap(self, name: str, data: bytes, *, expected: str | None) -> str:
        tag = self.inner.swap(name, data, expected=expected)
        for _ in range(20 if self._happens(name, 0.3) else 0):
            time.sleep(0.001)
            present = self.inner.read(name)
            if present is None or present.tag != tag:
                raise ObjectChanged("changed")
        return tag


class Pausing(Planted):
    """No defect: it leaves a sweep the time to come between an object and the pointer that refers to it."""

    def write(self, name: str, data: bytes | bytearray) -> None:
        super().write(name, data)
        time.sleep(0.003)


class Unfenced(Planted):
    """It leaves pointers as they are: so that a sweep removes what it has listed with no fence before."""

    def swap(self, name: str, data: bytes, *, expected: str | None) -> str:
        return tag_of(data) if is_pointer(name) else super().swap(name, data, expected=expected)


DEFECTS: dict[str, tuple[type[Planted], type[Planted]]] = {
    "race": (Hesitating, Hesitating),
    "lost": (Losing, Losing),
    "stale": (Stale, Stale),
    "torn": (Tearing, Tearing),
    "twice": (Twice, Twice),
    "no-fence": (Pausing, Unfenced),
}
"""What is planted under the workers' stores, and what under that of the maintenance."""


def sample(document: int) -> Adapter:
    """The adapter of a document; all have the same tensors, which cost more to make than to store."""
    return replace(_base(), provenance=replace(_base().provenance, document_digest=f"{document:064x}"))


def some_user(draw: random.Random, users: int) -> str:
    """One of the users; every second time one of a few, whom many want at once."""
    return f"user{draw.randrange(users if draw.random() < 0.5 else max(1, users // 20))}"


def ask(
    draw: random.Random, *, number: int, users: int, known: dict[str, StoredAdapter]
) -> tuple[Request, Adapter | None]:
    """What the operation of that number is, and the adapter of a put; ``known`` are the active ones as last seen."""
    user = some_user(draw, users)
    seen = known.get(user)
    kind = draw.choices(list(MIX), list(MIX.values()))[0]
    writes = kind in ("put", "activate", "erase")
    condition = draw.choices(["none", "version", "digest", "both"], [4, 3, 2, 1])[0]
    version = max(1, (seen.version if seen else 0) + draw.randint(-KEEP, 1))
    document = int(seen.document_digest, 16) if seen and draw.random() < 0.2 else number
    adapter = sample(document) if kind == "put" else None
    request = Request(
        kind=kind,
        user=user,
        digest=digest_of(adapter) if adapter else None,
        version=version if kind == "activate" or (kind == "get" and draw.random() < 0.5) else None,
        if_version=(seen.version if seen else 0) if writes and condition in ("version", "both") else None,
        if_digest=(seen.digest if seen else "0" * 64) if writes and condition in ("digest", "both") else None,
    )
    return request, adapter


@functools.cache
def _base() -> Adapter:
    return sample_adapter()


class Maintenance:
    """Sweeps and rotations without a pause, beside the workers."""

    def __init__(self, store: AdapterStore, doing: Doing, plan: Plan) -> None:
        self.outcomes: Counter[str] = Counter()
        self.problems: list[str] = []
        self._store = store
        self._doing = doing
        self._plan = plan

    def work_until(self, done: threading.Event) -> None:
        """Goes on until the event is set, and ends what it is at."""
        number = 0
        while not done.is_set():
            number -= 1
            draw = self._doing.begin(number, self._plan)
            # A rotation of many users takes a thousand calls: some are to be cut short, and some are to end.
            self._doing.share *= draw.choice([1, 0.02, 0])
            kind = draw.choices(list(MAINTENANCE), list(MAINTENANCE.values()))[0]
            if number >= -len(MAINTENANCE):  # each of them surely once, however short the run is
                self._doing.share, kind = 0, list(MAINTENANCE)[-number - 1]
            outcome = OK
            try:
                self._do(kind, draw)
            except StoreError as error:
                outcome = error.code
                if outcome != UNKNOWN:
                    self.problems.append(f"{kind} failed: {error.message}")
            self.outcomes[f"{kind} {outcome}"] += 1

    def _do(self, kind: str, draw: random.Random) -> None:
        if kind == "rotate_tenant_key":
            self.outcomes["keys wrapped anew"] += self._store.rotate_tenant_key(ACME)
        elif kind == "sweep":
            self.outcomes["orphans removed"] += self._store.sweep(ACME.user(some_user(draw, self._plan.users)))
        else:
            for removed in self._store.sweep_tenant(ACME):
                self.outcomes["orphans removed"] += removed or 0
                if removed is None:
                    self.problems.append("a sweep found something of a user that cannot be read")


@contextmanager
def opening(storage: str, server: Server | None) -> Iterator[Callable[[], Storages]]:
    """Opens the storages once more, as another process would, as often as it is called; nothing of them stays."""
    with ExitStack() as stack:

        def held(objects: ObjectStorage) -> ObjectStorage:
            stack.callback(objects.close)
            return objects

        if storage == "memory":
            shared = MemoryObjects(), MemoryObjects()
            yield lambda: shared
            return
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if storage == "directory":
            yield lambda: (held(DirectoryObjects(folder / "adapters")), held(DirectoryObjects(folder / "keys")))
            return
        found = server or stack.enter_context(running_server(folder))
        bucket, prefix = S3Objects(found), f"history-{uuid4().hex}/"
        stack.callback(bucket.close)
        bucket.make_bucket()
        stack.callback(lambda: list(map(bucket.remove, bucket.names(prefix))))

        def of(kind: str) -> ObjectStorage:
            return held(S3Objects(replace(found, prefix=f"{found.prefix}{prefix}{kind}/")))

        yield lambda: (of("adapters"), of("keys"))


def work_through(stores: Sequence[AdapterStore], maintenance: Maintenance, doing: Doing, plan: Plan) -> list[Operation]:
    """The history of the planned operations, beside the maintenance."""
    numbers = iter(range(plan.operations))
    lock = threading.Lock()
    history: list[Operation] = []
    known: dict[str, StoredAdapter] = {}

    def work(worker: int) -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            draw = doing.begin(number, plan)
            request, adapter = ask(draw, number=number, users=plan.users, known=known)
            history.append(operate(stores[worker % len(stores)], request, adapter, number=number, known=known))

    done = threading.Event()
    with ExitStack() as stack:
        stack.callback(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(SWITCH_S)
        pool = stack.enter_context(ThreadPoolExecutor(plan.workers + 1))
        beside = pool.submit(maintenance.work_until, done)
        stack.callback(done.set)
        list(pool.map(work, range(plan.workers)))
    beside.result()
    return history


def settle(store: AdapterStore) -> list[str]:
    """Sweeps and wraps once more, after which everything has to be there still; what is wrong with that."""
    try:
        list(store.sweep_tenant(ACME))
        store.rotate_tenant_key(ACME)
        left = sum(removed or 0 for removed in store.sweep_tenant(ACME))
    except StoreCorrupt as error:
        return [f"what is left cannot be swept, or its keys not be wrapped anew: {error.message}"]
    return [f"a sweep has left {left} orphans to the next one"] if left else []


def run(plan: Plan, *, server: Server | None = None) -> tuple[dict[str, Any], list[str]]:
    """Records a history and checks it: figures, and what is wrong in words. ``server`` spares starting one."""
    faults: Counter[str] = Counter()
    doing = Doing()
    with opening(plan.storage, server) as storages:
        record = Record(keys=storages()[1], by=lambda: doing.number)

        def opened(*, works: bool) -> AdapterStore:
            adapters, keys = storages()
            adapters = Recording(adapters, record)
            if plan.defect is not None:
                adapters = DEFECTS[plan.defect][0 if works else 1](adapters, doing)
            failing = [Failing(inner, doing=doing, counts=faults) for inner in (adapters, keys)]
            return store_of((failing[0], failing[1]), retention=Retention(versions=KEEP))

        maintenance = Maintenance(opened(works=False), doing, plan)
        start = time.monotonic()
        history = work_through([opened(works=True) for _ in range(STORES)], maintenance, doing, plan)
        seconds = time.monotonic() - start
        problems = maintenance.problems + settle(store_of(storages()))
        final = read_in_the_end(store_of(storages()), {*record.steps, *(made.request.user for made in history)})
    problems += check(history, record.steps, final, keep=KEEP)
    report = asdict(plan) | {
        "stores": STORES + 1,
        "outcomes": dict(sorted(Counter(f"{made.request.kind} {made.outcome}" for made in history).items())),
        "maintenance": dict(sorted(maintenance.outcomes.items())),
        "faults": dict(sorted(faults.items())),
        "transitions": sum(map(len, record.steps.values())),
        "refused": record.counts["refused"],
        "server_failures": record.counts["unsure"],
        "seconds": round(seconds, 1),
        "violations": len(problems),
        "first": problems[:3],
    }
    return report, problems


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operations", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--storage", choices=["memory", "directory", "s3"], default="memory")
    parser.add_argument("--defect", choices=sorted(DEFECTS), help="plant something that the check must find")
    parser.add_argument("--seed", type=int, default=0)
    plan = Plan(**vars(parser.parse_args()))
    out = os.dup(1)
    os.dup2(2, 1)  # where a server that is started here goes on to write
    # A call that never returns is a violation too: it says where it is, and exits 1.
    faulthandler.dump_traceback_later(300 + 0.05 * plan.operations, exit=True)
    report, problems = run(plan)
    os.write(out, f"{json.dumps(report)}\n".encode())
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
