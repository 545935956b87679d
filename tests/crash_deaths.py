"""Processes of our own, and the moments at which they kill themselves."""

import os
import select
import signal
import time
import traceback
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from urllib3.connection import HTTPConnection

from hypernet.storage import s3_transport
from hypernet.storage.object_storage import ObjectStorage
from hypernet.storage.s3_transport import Answer, S3Transport, _Body
from tests.storages import Wrapped

Step = Callable[[], None]
Tell = Callable[[bytes], object]
CALLS = ("read", "write", "swap", "settle", "remove", "remove_if", "names", "folders")
_SYSTEM_CALLS = ("open", "close", "fsync", "replace", "mkdir", "unlink", "rmdir")
_write = os.write


class Child:
    """A child process at work, and what it tells; it ends by itself once `longest_s` are over."""

    def __init__(self, work: Callable[[Tell], None], *, longest_s: int | None = 120) -> None:
        reading, writing = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            signal.alarm(longest_s or 0)
            status = 1
            try:
                os.close(reading)
                work(lambda data: _write(writing, data))
                status = 0
            except BaseException:  # noqa: BLE001 - the end of a process, and nobody above it here
                traceback.print_exc()
            finally:
                os._exit(status)
        os.close(writing)
        self._reading = reading

    def wait(self) -> tuple[int, bytes]:
        """How it ended, as `os.waitpid` has it, and what it told until then."""
        with os.fdopen(self._reading, "rb") as file:
            told = file.read()
        return os.waitpid(self._pid, 0)[1], told


class Moments:
    """Counts the moments of a process, waits at some of them, and kills it at one."""

    def __init__(self, *, last: int | None, waits_s: Mapping[int, float]) -> None:
        self.count = 0
        self._last = last
        self._waits_s = waits_s

    def __call__(self) -> None:
        """The next moment."""
        if self.count in self._waits_s:
            time.sleep(self._waits_s[self.count])
        if self.count == self._last:
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1


class Stepping(Wrapped):
    """Takes a step before every call that it passes on: between two calls nothing changes that outlasts a process."""

    def __init__(self, inner: ObjectStorage, step: Step) -> None:
        super().__init__(inner)
        for call in CALLS:
            setattr(self, call, _behind(step, getattr(inner, call)))


def step_in_requests(step: Step) -> None:
    """From here on this process takes steps in requests that change something: half-way through a body, and once an
    answer has come.

    An answer that has come and is not yet read is a request that was heard: whoever dies there leaves no request on its
    way, and what is found afterwards is all there will be.
    """
    getresponse, put = HTTPConnection.getresponse, S3Transport.put

    class Halves(_Body):
        """A body of which the first piece that is asked for is half of it."""

        def __init__(self, data: bytes | bytearray) -> None:
            super().__init__(data)
            self._first = len(data) // 2

        def read(self, size: int) -> bytes:
            if self._first:
                size, self._first = min(size, self._first), 0
            else:
                step()
            return super().read(size)

    def heard(self: S3Transport, url: str, data: bytes | bytearray, **options: Any) -> Answer:
        answer = put(self, url, data, **options)
        step()
        return answer

    def when_answered(self: Any) -> Any:
        if self._method not in ("GET", "HEAD"):
            select.select([self.sock], [], [])
            step()
        return getresponse(self)

    replace_calls(s3_transport, {"_Body": Halves})
    replace_calls(S3Transport, {"put": heard})
    replace_calls(HTTPConnection, {"getresponse": when_answered})


def step_in_system_calls(step: Step) -> None:
    """From here on this process takes a step before each of its system calls on files, and half-way through a write."""

    def write(descriptor: int, data: memoryview) -> int:
        step()
        half = len(data) // 2
        written = _write(descriptor, data[:half])
        step()
        return written + _write(descriptor, data[half:])

    replace_calls(os, {"write": write} | {name: _behind(step, getattr(os, name)) for name in _SYSTEM_CALLS})


def _behind(step: Step, call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def stepping(*args: Any, **options: Any) -> Any:
        step()
        return call(*args, **options)

    return stepping


def replace_calls(owner: Any, calls: Mapping[str, Callable[..., Any]]) -> None:
    """Replaces functions of a class or a module in this process, a child one: nothing puts them back."""
    for name, call in calls.items():
        setattr(owner, name, call)
