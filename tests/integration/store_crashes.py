"""Kills a process with SIGKILL at every step of a write to the directory store and prints what was left, as JSON.

A program of its own, because the process that forks must have no other threads:
`python -m tests.integration.store_crashes FOLDER DEFECT:SCENARIO...`. With a DEFECT other than "none" it runs a store
that has it, which the outcomes must show.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from hypernet.adapters import Adapter
from hypernet.errors import AdapterNotFound, HypernetError
from hypernet.storage import AdapterStore, TenantScope, directory
from hypernet.storage.directory import DirectoryObjects
from hypernet.storage.key_provider import HeldKeys
from hypernet.storage.sealing import DataKey
from tests.samples import sample_adapter

KEY = TenantScope("acme").user("ada")
FIRST, SECOND, LATER = (sample_adapter(seed) for seed in range(3))
ROOT_KEYS = HeldKeys([DataKey(key_id="ab" * 16, secret=b"r" * 32)])
StoreMaker = Callable[[Path], AdapterStore]
Action = Callable[[AdapterStore], object]
STEPS = ("open", "close", "write", "fsync", "replace", "mkdir", "unlink", "rmdir")


class PointerFirstObjects(DirectoryObjects):
    """The defect of naming an object before it is there."""

    _waiting: tuple[str, bytes] | None = None

    def write(self, name: str, data: bytes) -> None:
        self._waiting = (name, data)

    def swap(self, name: str, data: bytes, *, expected: str | None) -> str:
        tag = super().swap(name, data, expected=expected)
        if self._waiting is not None:
            super().write(*self._waiting)
        return tag


def sound_store(root: Path, objects: type[DirectoryObjects] = DirectoryObjects) -> AdapterStore:
    """A store in a directory, whose adapters a storage of that class keeps."""
    return AdapterStore(objects=objects(root / "adapters"), keys=DirectoryObjects(root / "keys"), provider=ROOT_KEYS)


def write_in_place(self: DirectoryObjects, path: Path, data: bytes) -> None:
    """The defect of writing a file under its final name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(descriptor, data)
    os.close(descriptor)


def kill_at(moment: int) -> None:
    """From here on this process kills itself at that moment: before, after, or half-way through a system call."""
    count = -1

    def tick() -> None:
        nonlocal count
        count += 1
        if count == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            tick()
            result = call(*args, **options)
            tick()
            return result

        return wrapped

    def write(descriptor: int, data: memoryview) -> int:
        tick()
        half = len(data) // 2
        written = original_write(descriptor, data[:half])
        tick()
        written += original_write(descriptor, data[half:])
        tick()
        return written

    original_write = os.write
    for name in STEPS:
        setattr(os, name, around(getattr(os, name)))
    os.write = write


def survives(action: Callable[[], object], *, moment: int) -> bool:
    """Whether the action ran to its end in a child that would have killed itself at that moment."""
    child = os.fork()
    if child == 0:
        kill_at(moment)
        action()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status not in (0, signal.SIGKILL):
        raise RuntimeError(f"the writer ended with status {status}")
    return status == 0


def state(root: Path) -> str:
    """What a reader finds: which adapter, none, or that something is broken."""
    store = sound_store(root)
    try:
        stored, adapter = store.get(KEY)
        digests = [version.digest for version in store.versions(KEY)]
    except AdapterNotFound:
        return "none" if store.users(KEY.scope) == [] else "broken: listed without an adapter"
    except HypernetError as error:
        return f"broken: {error.code}"
    names = {FIRST.digest: "first", SECOND.digest: "second"}
    if adapter.digest != stored.digest or digests[stored.version - 1] != stored.digest:
        return "broken: versions"
    return f"{names[stored.digest]} of {len(digests)}"


def aftermath(root: Path) -> str:
    """Whether the next writer gets through, and a sweep leaves nothing but what is referred to."""
    store = sound_store(root)
    put = store.put(KEY, LATER)
    store.sweep(KEY)
    if store.get(KEY)[1].digest != LATER.digest or not put.active:
        return "broken: later write"
    left = [path for name in ("adapters", "keys") for path in (root / name / KEY.prefix).rglob("*") if path.is_file()]
    if len(left) != len(store.versions(KEY)) + 2:  # the pointer and the user's key beside the objects
        return "broken: files left over"
    store.delete(KEY)
    return "broken: files left of nobody" if (root / "adapters" / KEY.scope.prefix).exists() else "clean"


def outcomes(root: Path, make_store: StoreMaker, prepare: tuple[Adapter, ...], action: Action) -> list[str]:
    """States by moment of death, until a moment lies after the end of the action: the last one is that of a success."""
    found: list[str] = []
    finished = False
    while not finished:
        folder = root / str(len(found))
        store = make_store(folder)
        for adapter in prepare:
            store.put(KEY, adapter)
        finished = survives(partial(action, store), moment=len(found))
        left = state(folder)
        found.append(left if left.startswith("broken") else f"{left}, {aftermath(folder)}")
    return found


def leave_and_sweep(store: AdapterStore) -> None:
    """Sweeps what a writer left that died before it referred to its object."""
    with mock.patch.object(store, "_swap", side_effect=KeyboardInterrupt), suppress(KeyboardInterrupt):
        store.put(KEY, LATER)
    if store.sweep(KEY) != 1:
        raise RuntimeError("nothing was swept")


def many_writers(root: Path, make_store: StoreMaker) -> list[str]:
    """Four processes put ten adapters each, all at once."""
    make_store(root)
    start_read, start_write = os.pipe()
    children = []
    for writer in range(4):
        child = os.fork()
        if child == 0:
            os.close(start_write)
            os.read(start_read, 1)
            store = make_store(root)
            for number in range(10):
                store.put(KEY, sample_adapter(100 * (writer + 1) + number))
            os._exit(0)
        children.append(child)
    os.close(start_write)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    versions = sound_store(root).versions(KEY)
    return [f"{statuses}, {len(versions)} versions, {len({stored.digest for stored in versions})} adapters"]


SCENARIOS: dict[str, Callable[[Path, StoreMaker], list[str]]] = {
    "put-first": partial(outcomes, prepare=(), action=lambda store: store.put(KEY, FIRST)),
    "put-second": partial(outcomes, prepare=(FIRST,), action=lambda store: store.put(KEY, SECOND)),
    "activate": partial(outcomes, prepare=(FIRST, SECOND), action=lambda store: store.activate(KEY, 1)),
    "sweep": partial(outcomes, prepare=(FIRST, SECOND), action=leave_and_sweep),
    "delete": partial(outcomes, prepare=(FIRST, SECOND), action=lambda store: store.delete(KEY)),
    "writers": many_writers,
}


@contextmanager
def store_with(defect: str) -> Iterator[StoreMaker]:
    """What makes the stores of a scenario."""
    if defect == "none":
        yield sound_store
    elif defect == "pointer-first":
        yield partial(sound_store, objects=PointerFirstObjects)
    elif defect == "in-place":
        with mock.patch.object(DirectoryObjects, "_place", write_in_place):
            yield sound_store
    elif defect == "no-lock":
        check_tag = DirectoryObjects._check_tag

        def slowly(self: DirectoryObjects, path: Path, expected: str | None) -> None:
            check_tag(self, path, expected)
            time.sleep(0.002)

        with (
            mock.patch.object(directory, "_try_lock", return_value=True),
            mock.patch.object(DirectoryObjects, "_check_tag", slowly),
        ):
            yield sound_store


def main(folder: Path, *runs: str) -> None:
    """Runs each DEFECT:SCENARIO in a folder of its own and writes the outcomes to standard output."""
    report = {}
    for run in runs:
        defect, scenario = run.split(":")
        with store_with(defect) as make_store:
            report[run] = SCENARIOS[scenario](folder / defect / scenario, make_store)
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
