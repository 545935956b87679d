"""Planted defects: what the crash driver must find. Each is in the dying process only; the others are sound."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hypernet.errors import ObjectChanged
from hypernet.storage import directory
from hypernet.storage.directory import DirectoryObjects
from hypernet.storage.object_storage import ObjectStorage
from hypernet.storage.pointer import is_live
from tests.crash_deaths import replace_calls
from tests.crash_scenarios import POINTER
from tests.storages import Wrapped


class PointerFirst(Wrapped):
    """Names an object before it is there."""

    _waiting: tuple[str, bytes] | None = None

    def write(self, name: str, data: bytes | bytearray) -> None:
        self._waiting = (name, data)

    def swap(self, name: str, data: bytes, *, expected: str | None) -> str:
        tag = super().swap(name, data, expected=expected)
        if self._waiting is not None and name.endswith("/pointer"):
            super().write(*self._waiting)
        return tag


class WritingBehind(Wrapped):
    """Answers before the pointer is swapped, which is done when the store is closed."""

    _waiting: tuple[str, bytes, str | None] | None = None

    def swap(self, name: str, data: bytes, *, expected: str | None) -> str:
        if name != POINTER or not is_live(data):
            return super().swap(name, data, expected=expected)
        self._waiting = (name, data, expected)
        return "waiting"

    def close(self) -> None:
        if self._waiting is not None:
            name, data, expected = self._waiting
            with suppress(ObjectChanged):
                super().swap(name, data, expected=expected)
        super().close()


class Unfenced(Wrapped):
    """Of a sweep, which swaps the pointer for nothing but the fence: does not."""

    def swap(self, name: str, data: bytes, *, expected: str | None) -> str:
        if name == POINTER and expected is not None:
            return expected
        return super().swap(name, data, expected=expected)


def _write_in_place() -> None:
    """Files are written under their final names."""

    def place(self: DirectoryObjects, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.write(descriptor, memoryview(data))
        os.close(descriptor)

    replace_calls(DirectoryObjects, {"_place": place})


def _lock_nothing() -> None:
    """Locks keep nobody out, and between the look at an object and its replacement there is time."""
    check_tag = DirectoryObjects._check_tag

    def slowly(self: DirectoryObjects, path: Path, expected: str | None) -> None:
        check_tag(self, path, expected)
        time.sleep(0.002)

    replace_calls(directory, {"_try_lock": lambda _: True})
    replace_calls(DirectoryObjects, {"_check_tag": slowly})


@dataclass(frozen=True, kw_only=True)
class Defect:
    """What a dying process does wrong."""

    wrap: Callable[[ObjectStorage], ObjectStorage] = lambda storage: storage
    """What stands before the adapters' storage of the process that dies, or sweeps beside those that live."""
    plant: Callable[[], None] = lambda: None
    """What is changed in the process."""
    scenarios: tuple[str, ...] = ()
    """Where it shows."""
    grain: str = "calls"
    """The coarsest moments at which it shows."""
    is_of_directory: bool = False
    """Whether no other storage can have it."""


NONE = "none"
DEFECTS = {
    NONE: Defect(),
    "pointer-first": Defect(wrap=PointerFirst, scenarios=("put-second",)),
    "acknowledge-early": Defect(wrap=WritingBehind, scenarios=("put-second", "activate")),
    "sweep-unfenced": Defect(wrap=Unfenced, scenarios=("writers",)),
    "in-place": Defect(plant=_write_in_place, scenarios=("put-second",), grain="syscalls", is_of_directory=True),
    "no-lock": Defect(plant=_lock_nothing, scenarios=("put-second", "writers"), is_of_directory=True),
}
