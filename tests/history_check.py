"""Whether what many callers of one store were told fits the states that each user's pointer really took.

A user's pointer is the only thing that changes, so the store promises that a user's whole history is one line of states
and that every call happened at one moment of its own time on that line. `tests.history` notes the line beneath the
store, in the order in which it was made, and who made each step. `check` then looks for that moment, call by call:

- A call that changed what a reader sees happened when its step was made. Its step has to be the one thing that it was
  asked for, done to the state right before, where its condition held; its answer has to tell of the state right after.
- Any other call that was answered, a refusal too, happened while some state lasted of which the answer is true.
- An erasure is one of those too where it was given the receipt of another one, which it found begun and not ended.
- A call without an answer made one step or none. It cannot be made later than it has ended: faults are raised in the
  caller's own thread, where a write is over, made or not, before its error is. (Only a real server that goes silent
  could do otherwise; `tests.history` counts those, and finds a step that nobody has noted.)
- A step that no call asked for shows nothing to a reader: the fence of a sweep, the reservation of a first write.

Why that is enough. A step was made between two readings of the clock, before and after the storage was asked. Steps of
one user do not overlap, so they have an order, and it is the order in which the states came. The check gives every call
a moment inside its own time: its step's, or one in the span of a state that its answer is true of. Calls sorted by that
moment are a sequence that a store with one caller could have had, and whoever ended before another began comes first in
it: that is linearizability. Where a call fits only if a step was made before it ended, or after it began, this narrows
the step's own time, and a step for which no moment is left is a violation: somebody saw the new state before somebody
else saw the old one. (One case is let pass: a call that fits either before one step under way or after another one.)
Each user is checked alone, which is sound since linearizability is local.

It takes time O(n log n + n w) for w workers: a step is looked at by the calls that were under way, one a worker.

Sources: M. Herlihy, J. Wing, "Linearizability: a correctness condition for concurrent objects", ACM TOPLAS 12(3), 1990,
theorem 1 for locality; P. Gibbons, E. Korach, "Testing shared memories", SIAM J. Comput. 26(4), 1997, for checking in
this time where the order of the writes is known.
"""

import hashlib
import json
import threading
import time
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hypernet.adapters import Adapter
from hypernet.errors import (
    AdapterNotFound,
    HypernetError,
    ObjectChanged,
    PreconditionFailed,
    StoreCorrupt,
    StoreError,
    StoreUnavailable,
    VersionNotFound,
)
from hypernet.storage import AdapterStore, StoredAdapter, UserKey
from hypernet.storage.memory import MemoryObjects
from hypernet.storage.object_storage import ObjectStorage, StoredObject, tag_of
from tests.storages import ACME, Wrapped, store_of

OK = "ok"
CONFLICT = PreconditionFailed.code
ABSENT = AdapterNotFound.code
NO_VERSION = VersionNotFound.code
UNKNOWN = StoreUnavailable.code
"""Made or not; any other outcome than these five is a violation."""

_NEVER = float("inf")
_LOOKED_BACK = 10
_Result = TypeVar("_Result")

Seen = tuple[int, str, bool]
"""A version as an answer tells of it: its number, its digest, and whether it is the active one."""


@dataclass(frozen=True, kw_only=True)
class View:
    """What a reader can see of a user: versions with their digests, oldest first, and which one is active (0: none)."""

    versions: tuple[tuple[int, str], ...] = ()
    active: int = 0
    owes: str | None = field(default=None, compare=False)
    """The name of the erasure that has come to this state, while it is not over; not for a reader to see."""

    @property
    def digest(self) -> str | None:
        """The active version's."""
        return dict(self.versions).get(self.active)

    @property
    def seen(self) -> tuple[Seen, ...]:
        """All versions, as answers tell of them."""
        return tuple((version, digest, version == self.active) for version, digest in self.versions)

    def told(self, version: int | None) -> tuple[Seen, ...]:
        """One version, as answers tell of it: the active one if none is named; nothing if there is no such version."""
        wanted = self.active if version is None else version
        return tuple(seen for seen in self.seen if seen[0] == wanted)


NOTHING = View()
UNREADABLE = View(active=-1)
"""Of a pointer that could not be read at the moment it was written, which nothing fits."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One change of a user's pointer."""

    view: View
    """What it changed it to."""
    by: int | None
    """The number of the operation that made it; None where nobody knows."""
    began: float
    ended: float


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a worker asked of the store."""

    kind: str
    """The name of the store's method."""
    user: str
    digest: str | None = None
    """Of the adapter to put."""
    version: int | None = None
    if_version: int | None = None
    if_digest: str | None = None

    def holds(self, view: View) -> bool:
        """Whether its condition is true of a state."""
        return self.if_version in (None, view.active) and self.if_digest in (None, view.digest)

    def effect(self, view: View, *, keep: int | None) -> View | None:
        """The state that it makes of another one; None where it may make nothing of it that a reader sees."""
        if self.kind == "put" and self.digest not in (None, view.digest):
            version = view.versions[-1][0] + 1 if view.versions else 1
            versions = (*view.versions, (version, str(self.digest)))
            return View(versions=versions[-keep:] if keep else versions, active=version)
        if self.kind == "activate" and self.version in dict(view.versions):
            return View(versions=view.versions, active=self.version)
        return NOTHING if self.kind == "erase" and view.versions else None


@dataclass(frozen=True, kw_only=True)
class Operation:
    """What one worker asked and was told, and when."""

    number: int
    request: Request
    outcome: str
    """`ok`, or the code of the error."""
    answer: tuple[Seen, ...] = ()
    actual: int | None = None
    """The active version, as a conflict tells of it."""
    receipt: str | None = None
    """The name of the erasure, as its receipt tells of it."""
    whole: bool = True
    """Whether the tensors that it got are those of the digest."""
    began: float
    ended: float

    def __str__(self) -> str:
        asked = {name: value for name, value in vars(self.request).items() if value is not None}
        told = {"outcome": self.outcome, "answer": self.answer, "actual": self.actual}
        return f"operation {self.number} {asked} {told}"

    def fits(self, view: View) -> bool:
        """Whether this is what it was to be told where nothing that a reader sees was changed, in a state."""
        asked = self.request
        if view is UNREADABLE:
            return False
        if self.outcome == CONFLICT:
            # Without an adapter, only a put gets as far as its condition.
            may_be = asked.kind == "put" or (asked.kind in ("activate", "erase") and bool(view.versions))
            return may_be and not asked.holds(view) and self.actual == view.active
        if self.outcome == ABSENT:
            return asked.kind != "put" and not view.versions
        if self.outcome == NO_VERSION:
            may_be = asked.kind in ("get", "activate") and bool(view.versions)
            return may_be and asked.holds(view) and not view.told(asked.version)
        if asked.kind == "erase":
            # Whatever its condition: it has ended what somebody else began, and was given the receipt of that.
            return view.owes is not None and self.receipt == view.owes
        if not view.versions or not asked.holds(view):
            return False
        if asked.kind == "put":
            return asked.digest == view.digest and self.answer == view.told(None)
        if asked.kind == "activate":
            return asked.version == view.active and self.answer == view.told(None)
        if asked.kind == "versions":
            return self.answer == view.seen
        return asked.kind in ("get", "head") and self.answer == view.told(asked.version) != ()


def check(
    history: Sequence[Operation],
    steps: Mapping[str, Sequence[Step]],
    final: Mapping[str, View | None],
    *,
    keep: int | None = None,
) -> list[str]:
    """What contradicts linearizability, in words.

    ``steps`` are all changes of each user's pointer in their order, ``final`` is what was read of each user in the end,
    None where something could not be; a put leaves the newest ``keep`` versions.
    """
    of_user: defaultdict[str, list[Operation]] = defaultdict(list)
    for operation in history:
        of_user[operation.request.user].append(operation)
    broken = []
    for user in sorted({*of_user, *steps, *final}):
        problems = _check_user(of_user[user], steps.get(user, ()), keep=keep)
        ends_as = steps[user][-1].view if steps.get(user) else NOTHING
        if final.get(user, NOTHING) != ends_as:
            problems.append(f"what is read in the end is {final.get(user)}, and the last state was {ends_as}")
        broken += [f"{user}: {problem}" for problem in problems]
    return broken


def _check_user(operations: Sequence[Operation], steps: Sequence[Step], *, keep: int | None) -> list[str]:
    made: defaultdict[int | None, list[tuple[View, Step]]] = defaultdict(list)
    before = NOTHING
    problems = []
    for step in steps:
        if step.view is UNREADABLE:
            problems.append(f"operation {step.by} wrote a pointer that cannot be read")
        if step.view != before:
            made[step.by].append((before, step))
        before = step.view
    line = _Line(steps)
    for operation in operations:
        problem = _problem(operation, made.pop(operation.number, []), line, keep=keep)
        if problem is not None:
            problems.append(f"{operation}: {problem}")
    for by, unasked in made.items():
        problems.append(f"{by} changed what it was not asked to, as {unasked[0][1]} of {unasked[0][0]}")
    return problems + line.problems()


def _problem(operation: Operation, made: Sequence[tuple[View, Step]], line: "_Line", *, keep: int | None) -> str | None:
    if operation.outcome not in (OK, CONFLICT, ABSENT, NO_VERSION, UNKNOWN):
        return "no caller is to be told this"
    if not operation.whole:
        return "the tensors are not those of the digest"
    if len(made) > 1:
        return f"was made {len(made)} times"
    if not made:
        if operation.outcome == UNKNOWN or line.place(operation):
            return None
        return "no state in its time explains that, and it has made none"
    before, step = made[0]
    if operation.outcome not in (OK, UNKNOWN):
        return "was refused, and made"
    if not operation.began <= step.began <= step.ended <= operation.ended:
        return f"was made outside its time, as {step}"
    if not operation.request.holds(before):
        return f"was made where its condition did not hold, of {before}"
    after = operation.request.effect(before, keep=keep)
    if step.view != after:
        return f"made {step.view} of {before}, and it ought to have been {after}"
    if operation.outcome == OK and (operation.answer != after.told(None) or operation.receipt != step.view.owes):
        return f"was told something else than what it made, which was {after}"
    return None


class _Line:
    """One user's states in their order, and what is known of when each began."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._views = [NOTHING, *(step.view for step in steps)]
        # Of the step to each state; that to the first was made before everything, and one behind the last never is.
        self._began = [-_NEVER, *(step.began for step in steps), _NEVER]
        self._ended = [-_NEVER, *(step.ended for step in steps), _NEVER]
        self._earliest, self._latest = list(self._began), list(self._ended)

    def place(self, operation: Operation) -> bool:
        """Whether the operation fits a state that may have lasted at some moment of its time.

        Where that says something of when a step was made, it is remembered.
        """
        first = bisect_left(self._ended, operation.began) - 1
        last = bisect_right(self._began, operation.ended) - 1
        just_made, about_to_go = None, None
        for state in range(first, last + 1):
            if not operation.fits(self._views[state]):
                continue
            if operation.ended < self._ended[state]:
                just_made = state
            elif operation.began > self._began[state + 1]:
                about_to_go = state + 1
            else:
                return True
        if just_made is not None and about_to_go is None:
            self._latest[just_made] = min(self._latest[just_made], operation.ended)
        if about_to_go is not None and just_made is None:
            self._earliest[about_to_go] = max(self._earliest[about_to_go], operation.began)
        return just_made is not None or about_to_go is not None

    def problems(self) -> list[str]:
        """Steps for which there is no moment left."""
        return [
            f"{view} was seen by one before another one, later, saw what was before it"
            for view, earliest, latest in zip(self._views, self._earliest, self._latest)
            if earliest > latest
        ]


class Held(Wrapped):
    """A storage with one state of one pointer in it, another one for each thread."""

    def __init__(self) -> None:
        super().__init__(MemoryObjects())
        self._here = threading.local()

    def hold(self, data: bytes) -> None:
        self._here.data = data

    def read(self, name: str) -> StoredObject | None:
        data = self._here.data
        return StoredObject(data=data, tag=tag_of(data)) if is_pointer(name) else None


class Record:
    """The states of all users' pointers, in the order in which they were made."""

    def __init__(self, *, keys: ObjectStorage, by: Callable[[], int | None]) -> None:
        """A record that reads what it notes with the keys in ``keys``, a storage that does not fail on purpose.

        ``by`` gives the number of the operation that the calling thread is at.
        """
        self.steps: dict[str, list[Step]] = {}
        """By folder of the user."""
        self.counts: Counter[str] = Counter()
        """Changes that were refused, and failures of the server's own."""
        self._held = Held()
        self._store = store_of((self._held, keys))
        self._by = by
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    def lock_of(self, folder: str) -> threading.Lock:
        """Who changes this user's pointer holds it until the change is noted."""
        with self._lock:
            return self._locks.setdefault(folder, threading.Lock())

    def note(self, folder: str, data: bytes | None, *, began: float, ended: float) -> None:
        """Notes a new state, read at once: its key may soon be destroyed, but not before the next change."""
        step = Step(view=answered(lambda: self._view(folder, data)), by=self._by(), began=began, ended=ended)
        self.steps.setdefault(folder, []).append(step)

    def _view(self, folder: str, data: bytes | None) -> View:
        if data is None:
            return NOTHING
        self._held.hold(data)
        try:
            return view_of(self._store.versions(ACME.user(folder)))
        except AdapterNotFound:
            # In the clear, since it says nothing of the user.
            return View(owes=json.loads(data).get("owed", {}).get("change"))
        except StoreCorrupt:
            return UNREADABLE


def view_of(found: Sequence[StoredAdapter]) -> View:
    """What a reader sees who is told of these versions."""
    versions = tuple((stored.version, stored.digest) for stored in found)
    return View(versions=versions, active=next(stored.version for stored in found if stored.active))


class Recording(Wrapped):
    """A storage of adapters that notes what becomes of pointers; anything else passes through."""

    def __init__(self, inner: ObjectStorage, record: Record) -> None:
        super().__init__(inner)
        self._record = record

    def write(self, name: str, data: bytes | bytearray) -> None:
        self._changed(name, data, lambda: self.inner.write(name, data))

    def swap(self, name: str, data: bytes, *, expected: str | None) -> str:
        return self._changed(name, data, lambda: self.inner.swap(name, data, expected=expected))

    def remove(self, name: str) -> None:
        self._changed(name, None, lambda: self.inner.remove(name))

    def remove_if(self, name: str, *, expected: str) -> bool:
        return self._changed(name, None, lambda: self.inner.remove_if(name, expected=expected))

    def _changed(self, name: str, data: bytes | None, change: Callable[[], _Result]) -> _Result:
        if not is_pointer(name):
            return change()
        folder = name.split("/")[1]
        with self._record.lock_of(folder):
            began = time.monotonic()
            try:
                result = change()
            except (StoreUnavailable, ObjectChanged) as error:
                unsure = not isinstance(error, ObjectChanged) or error.unsure
                self._record.counts["unsure" if unsure else "refused"] += 1
                if unsure and answered(lambda: self._is_now(name, data)):
                    self._record.note(folder, data, began=began, ended=time.monotonic())
                raise
            if result is not False:
                self._record.note(folder, data, began=began, ended=time.monotonic())
            return result

    def _is_now(self, name: str, data: bytes | None) -> bool:
        present = self.inner.read(name)
        return (None if present is None else present.data) == data


def is_pointer(name: str) -> bool:
    """Whether an object of this name is a user's pointer."""
    tenant, _, rest = name.partition("/")
    return f"{tenant}/" == ACME.prefix and rest.count("/") == 1 and rest.endswith("/pointer")


def answered(ask: Callable[[], _Result]) -> _Result:
    """What is asked of a storage that a real server may keep from answering now and then."""
    for _ in range(_LOOKED_BACK):
        with suppress(StoreUnavailable):
            return ask()
    return ask()


def operate(
    store: AdapterStore, request: Request, adapter: Adapter | None, *, number: int, known: dict[str, StoredAdapter]
) -> Operation:
    """Asks that of a store, an adapter for a put only; ``known`` remembers what it tells of the active version."""
    key = ACME.user(request.user)
    conditions: dict[str, Any] = {"if_version": request.if_version, "if_digest": request.if_digest}
    found: list[StoredAdapter] = []
    outcome, actual, receipt, whole = OK, None, None, True
    began = time.monotonic()
    try:
        if adapter is not None:
            found = [store.put(key, adapter, **conditions)]
        elif request.kind == "activate":
            found = [store.activate(key, request.version or 0, **conditions)]
        elif request.kind == "erase":
            receipt = erase(store, key, **conditions)
        elif request.kind == "versions":
            found = store.versions(key)
        elif request.kind == "head":
            found = [store.head(key)]
        else:
            stored, got = store.get(key, version=request.version)
            found, whole = [stored], is_whole(stored, got)
    except HypernetError as error:
        outcome, actual = error.code, getattr(error, "actual", None)
    ended = time.monotonic()
    if outcome == ABSENT or (outcome == OK and request.kind == "erase"):
        known.pop(request.user, None)
    known.update((request.user, stored) for stored in found if stored.active)
    return Operation(
        number=number,
        request=request,
        outcome=outcome,
        answer=tuple((stored.version, stored.digest, stored.active) for stored in found),
        actual=actual,
        receipt=receipt,
        whole=whole,
        began=began,
        ended=ended,
    )


def erase(store: AdapterStore, key: UserKey, **conditions: Any) -> str:
    """The one place where a user's adapter is removed; the name of the change that the receipt is for."""
    return str(store.erase(key, **conditions).line["change"])


def is_whole(stored: StoredAdapter, adapter: Adapter) -> bool:
    """Whether these are the tensors, and the provenance, that were put under that digest."""
    return digest_of(adapter) == stored.digest and adapter.provenance.document_digest == stored.document_digest


def digest_of(adapter: Adapter) -> str:
    """The adapter's digest, of what it is now and not as it remembers it."""
    return hashlib.sha256(adapter.canonical_bytes()).hexdigest()


def read_in_the_end(store: AdapterStore, users: Iterable[str]) -> dict[str, View | None]:
    """What a store reads of each user; None where a version cannot be read, tensors included."""
    final: dict[str, View | None] = {}
    for user in users:
        key = ACME.user(user)
        try:
            found = store.versions(key)
            whole = all(is_whole(*store.get(key, version=stored.version)) for stored in found)
            final[user] = view_of(found) if whole else None
        except AdapterNotFound:
            final[user] = NOTHING
        except StoreError:
            final[user] = None
    return final
