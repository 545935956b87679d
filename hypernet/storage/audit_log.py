"""The audit log: every change to a tenant's adapters, announced before it is made.

Lines of JSON, each with the hash of the one before it. Several that come at once are written as one segment, an object
that never changes and is never removed; its last line is a signature. Segments of a lane are numbered without gaps. Of
the lanes a process takes one, and another where it meets somebody, so that processes seldom wait for each other.

```
<tenant>/.audit/<lane>/<segment>
```

A line says what is about to be done, so that nothing is done that no line says. It was done unless a later line says
that it was withdrawn, or the process died first; the user's pointer, which holds the names of the last changes, knows.
Users are pseudonyms; nothing in a line says what a document or an adapter is.
"""

import hashlib
import json
import random
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from hypernet.errors import ObjectChanged, StoreCorrupt, StoreError, StoreUnavailable
from hypernet.storage.audit_keys import AuditKeyRing, AuditKeys, is_signed
from hypernet.storage.keys import TenantScope, UserPath
from hypernet.storage.object_storage import ObjectStorage

_DIGITS = 12
_NUMBERED = re.compile(r"[0-9]{12}")
_LANE = re.compile(r"[0-9a-f]{1,2}")
FIRST_PREV = "0" * 64
"""What the first line of a lane has in place of a hash."""
_LANES = 32
_MAX_LINES = 1000
_NOT_WRITTEN = "The audit log could not be written."
_PAGE = 1000


@dataclass(frozen=True, kw_only=True)
class AuditLine:
    """One line of the log, and where it is."""

    content: dict[str, Any]
    """`at`, `event`, `lane`, `line` (its number in the lane), `prev`, and what the event brings with it."""
    segment: int

    @property
    def hash(self) -> str:
        """SHA-256 of the line as it is written."""
        return hash_of(line_bytes(self.content))


@dataclass(frozen=True, kw_only=True)
class LinePlace:
    """Where in a tenant's log a line is."""

    lane: str
    segment: int
    line: int


@dataclass(kw_only=True, eq=False)
class AuditEntry:
    """A line that is to be written: what `AuditLog.begin` gives and `AuditLog.wait` takes."""

    facts: dict[str, Any]
    written: AuditLine | StoreError | None = None
    """The line; or why there is none."""
    is_waiting: bool = False
    turn: threading.Event = field(default_factory=threading.Event)
    """Set once it is written, or is to write for all."""


@dataclass(kw_only=True)
class _Tail:
    """The end of a lane as this process last knew it, and who waits to add to it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    """For the next two."""
    entries: list[AuditEntry] = field(default_factory=list)
    """Not yet given to a writer."""
    is_writing: bool = False
    lane: str = field(default_factory=lambda: _other_lane(None))
    """Whoever writes has it and what follows to itself."""
    is_known: bool = False
    """Whether the next three are."""
    segment: int = 0
    """Number of the next segment."""
    line: int = 0
    prev: str = FIRST_PREV


class AuditLog:
    """The logs of all tenants in one storage of objects, safe to append to from many threads and processes."""

    def __init__(self, *, objects: ObjectStorage, keys: AuditKeyRing) -> None:
        self._objects = objects
        self._keys = keys
        self._tails: dict[str, _Tail] = {}

    def append(self, scope: TenantScope, event: str, *, user: UserPath | None = None, **facts: Any) -> AuditLine:
        """Writes a line; durable when this returns. ``facts`` are plain values.

        Raises: `StoreUnavailable`, upon which the line may be there or not.
        """
        return self.wait(scope, self.begin(scope, event, user=user, **facts))

    def begin(self, scope: TenantScope, event: str, *, user: UserPath | None = None, **facts: Any) -> AuditEntry:
        """Hands in a line, to be written by whoever writes next; at the latest by who waits for it."""
        named = {} if user is None else {"user": self._keys.of(scope).pseudonym(user)}
        entry = AuditEntry(facts={"at": datetime.now(UTC).isoformat(), "event": event} | named | facts)
        tail = self._tail(scope)
        with tail.lock:
            tail.entries.append(entry)
        return entry

    def wait(self, scope: TenantScope, entry: AuditEntry) -> AuditLine:
        """Returns when the line is durable; raises as `append`."""
        tail = self._tail(scope)
        batch: list[AuditEntry] | None = None
        try:
            while True:
                with tail.lock:
                    if entry.written is not None:
                        break
                    if tail.is_writing:
                        batch = None
                        entry.is_waiting = True
                        entry.turn.clear()
                    else:
                        tail.is_writing = True
                        batch, tail.entries = tail.entries[:_MAX_LINES], tail.entries[_MAX_LINES:]
                if batch is None:
                    entry.turn.wait()
                else:
                    self._write_for(batch, scope, tail)
        except BaseException:
            self._leave(entry, tail, batch or [])
            raise
        if isinstance(entry.written, StoreError):
            raise type(entry.written)(entry.written.message) from entry.written
        return entry.written

    def take_back(self, scope: TenantScope, entry: AuditEntry) -> bool:
        """Whether a line that was handed in is not going to be written: nobody had begun to."""
        tail = self._tail(scope)
        with tail.lock:
            if entry in tail.entries:
                tail.entries.remove(entry)
                return True
        return False

    def find(self, scope: TenantScope, place: LinePlace) -> AuditLine:
        """The line at that place, its segment's signature checked. Raises: `StoreCorrupt` where there is none."""
        present = self._objects.read(segment_name(scope, place.lane, place.segment))
        read = [] if present is None else [read_line(data) for data in present.data.splitlines()]
        found = [content for content in read if content is not None]
        if found and len(found) == len(read) and self._is_segment(scope, place, found[:-1], last=found[-1]):
            for content in found[:-1]:
                if content["line"] == place.line:
                    return AuditLine(content=content, segment=place.segment)
        raise StoreCorrupt("A line of the audit log is missing or was changed; restore it from a backup.")

    def lines(self, scope: TenantScope) -> Iterator[bytes]:
        """The log as it is written, lane by lane, signatures included; one segment in memory at a time."""
        for lane in self._objects.folders(_root(scope)):
            # By number, not as listed: a listing beside writers may leave one out and have a later one.
            for number in range(self._count(scope, lane)):
                present = self._objects.read(segment_name(scope, lane, number))
                if present is not None:
                    yield from present.data.splitlines()

    def _is_segment(
        self, scope: TenantScope, place: LinePlace, contents: list[dict[str, Any]], *, last: dict[str, Any]
    ) -> bool:
        """Whether lines follow each other, and the last one signs them as that segment."""
        hashes = [hash_of(line_bytes(content)) for content in contents]
        follows = all(after["prev"] == before for before, after in zip(hashes, contents[1:], strict=False))
        text = signed_text(place.lane, place.segment, hashes[-1] if hashes else FIRST_PREV)
        key = self._keys.of(scope).public_key
        return follows and is_signed(text, signature=str(last.get("signature")), public_key=key)

    def _count(self, scope: TenantScope, lane: str) -> int:
        """How many segments there are, by the highest number listed."""
        highest, after = -1, None
        while page := list(self._objects.names(f"{_root(scope)}{lane}/", after=after, limit=_PAGE)):
            numbers = [int(name[-_DIGITS:]) for name in page if _NUMBERED.fullmatch(name.rpartition("/")[2])]
            highest, after = max([highest, *numbers]), page[-1]
        return highest + 1

    def _tail(self, scope: TenantScope) -> _Tail:
        found = self._tails.get(scope.prefix)
        return self._tails.setdefault(scope.prefix, _Tail()) if found is None else found

    def _leave(self, entry: AuditEntry, tail: _Tail, batch: list[AuditEntry]) -> None:
        """Passes on the turn of one who was interrupted, whether it was about to come, had come or was over."""
        left = [each for each in batch if each.written is None]
        with tail.lock:
            entry.is_waiting = False
            for each in left:
                each.written = StoreUnavailable(_NOT_WRITTEN)
            if left:
                tail.is_writing = False
            other = None if tail.is_writing else _next_of(tail)
        for each in left if other is None else [*left, other]:
            each.turn.set()

    def _write_for(self, batch: list[AuditEntry], scope: TenantScope, tail: _Tail) -> None:
        """Writes for all of a batch, and wakes them, and one of those who came since."""
        try:
            self._write(scope, self._keys.of(scope), tail, batch)
        except BaseException as error:
            ours = error if isinstance(error, StoreError) else StoreUnavailable(_NOT_WRITTEN)
            for each in batch:
                each.written = ours
            if ours is not error:
                raise
        finally:
            with tail.lock:
                tail.is_writing = False
                # One who waits: another may be busy elsewhere, or never come.
                other = _next_of(tail)
            for each in batch if other is None else [*batch, other]:
                each.turn.set()

    def _write(self, scope: TenantScope, keys: AuditKeys, tail: _Tail, batch: list[AuditEntry]) -> None:
        while True:
            if not tail.is_known:
                self._find(scope, tail)
            lines, prev = [], tail.prev
            for number, entry in enumerate(batch, start=tail.line):
                content = entry.facts | {"lane": tail.lane, "line": number, "prev": prev}
                lines.append(AuditLine(content=content, segment=tail.segment))
                prev = lines[-1].hash
            signature = keys.sign(signed_text(tail.lane, tail.segment, prev))
            last = {"lane": tail.lane, "segment": tail.segment, "signature": signature}
            data = b"".join(line_bytes(each) + b"\n" for each in (*(line.content for line in lines), last))
            try:
                self._objects.swap(segment_name(scope, tail.lane, tail.segment), data, expected=None)
            except ObjectChanged:
                # Another process is in this lane. To follow it would be to lose against it again and again.
                tail.lane, tail.is_known = _other_lane(tail.lane), False
                continue
            tail.segment, tail.line, tail.prev = tail.segment + 1, tail.line + len(batch), prev
            for entry, line in zip(batch, lines, strict=True):
                entry.written = line
            return

    def _find(self, scope: TenantScope, tail: _Tail) -> None:
        """The end of the lane: there is no gap before it, so that it is found by doubling and halving."""
        there, step = -1, 1
        while self._objects.read(segment_name(scope, tail.lane, there + step)) is not None:
            there, step = there + step, 2 * step
        missing = there + step
        while missing - there > 1:
            middle = (there + missing) // 2
            if self._objects.read(segment_name(scope, tail.lane, middle)) is None:
                missing = middle
            else:
                there = middle
        tail.segment, tail.line, tail.prev = there + 1, 0, FIRST_PREV
        if there >= 0:
            present = self._objects.read(segment_name(scope, tail.lane, there))
            data = (b"" if present is None else present.data).splitlines()[-2:-1]
            content = read_line(data[0]) if data else None
            if content is None:
                raise StoreCorrupt("A segment of the audit log was changed; restore it from a backup.")
            tail.line, tail.prev = content["line"] + 1, hash_of(data[0])
        tail.is_known = True


def _next_of(tail: _Tail) -> AuditEntry | None:
    """Somebody who waits to write."""
    return next((entry for entry in tail.entries if entry.is_waiting), None)


def read_line(data: bytes) -> dict[str, Any] | None:
    """A line of a log, or the signature of a segment; None for anything else, whoever wrote it."""
    try:
        content = json.loads(data)
        if (
            not isinstance(content, dict)
            or not isinstance(content["lane"], str)
            or not _LANE.fullmatch(content["lane"])
        ):
            return None
        number = content["segment"] if "signature" in content else content["line"]
        # As it was written and in no other way, so that what is read has one hash.
        if not isinstance(number, int) or isinstance(number, bool) or number < 0 or line_bytes(content) != data:
            return None
    except (ValueError, KeyError, TypeError, RecursionError, UnicodeError):
        return None
    return content


def line_bytes(content: dict[str, Any]) -> bytes:
    """A line as it is written, without its end."""
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def hash_of(line: bytes) -> str:
    """What the next line has as `prev`: SHA-256, in hexadecimal digits."""
    return hashlib.sha256(line).hexdigest()


def signed_text(lane: str, segment: int, last: str) -> str:
    """What the signature of a segment is made over; ``last`` is the hash of its last line."""
    return f"hypernet audit segment\n{lane}\n{segment}\n{last}"


def segment_name(scope: TenantScope, lane: str, number: int) -> str:
    """The name of a segment's object."""
    return f"{_root(scope)}{lane}/{number:0{_DIGITS}d}"


def _other_lane(lane: str | None) -> str:
    """One of the lanes by chance, another than that."""
    lanes = [f"{number:x}" for number in range(_LANES)]
    return random.choice([each for each in lanes if each != lane])  # noqa: S311  (spreads out, hides nothing)


def _root(scope: TenantScope) -> str:
    return f"{scope.prefix}.audit/"
