"""The most recently used of some values, up to a number of bytes; looked up without a lock.

A library's cache wants a lock around every look, at which all threads meet that would otherwise never do.
"""

import threading
from collections import OrderedDict
from contextlib import suppress
from typing import Generic, TypeVar

_Value = TypeVar("_Value")


class Recent(Generic[_Value]):
    """Values by name; safe for many threads."""

    def __init__(self, max_bytes: int) -> None:
        """With ``max_bytes`` 0 nothing is kept."""
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        """For changes; each of the calls on the next one is a single step of the interpreter's."""
        self._entries: OrderedDict[str, tuple[_Value, int]] = OrderedDict()
        self._bytes = 0

    def get(self, name: str) -> _Value | None:
        """The value, which is then the most recently used; None where there is none, or no more."""
        found = self._entries.get(name)
        if found is None:
            return None
        with suppress(KeyError):  # removed meanwhile
            self._entries.move_to_end(name)
        return found[0]

    def put(self, name: str, value: _Value, *, size_bytes: int) -> None:
        """Keeps a value, in place of the one of that name, at the cost of those that were not used for longest."""
        with self._lock:
            self._remove(name)
            if size_bytes > self._max_bytes:
                return
            self._entries[name] = value, size_bytes
            self._bytes += size_bytes
            while self._bytes > self._max_bytes:
                _, (_, size) = self._entries.popitem(last=False)
                self._bytes -= size

    def remove(self, name: str) -> None:
        """Forgets the value of that name, if there is one."""
        if name in self._entries:
            with self._lock:
                self._remove(name)

    def _remove(self, name: str) -> None:
        found = self._entries.pop(name, None)
        if found is not None:
            self._bytes -= found[1]
