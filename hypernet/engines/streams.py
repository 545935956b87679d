"""The stream that carries an answer from the engine's thread to whoever asked, in a thread or in an event loop."""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Literal

FinishReason = Literal["stop", "length"]
"""`stop`: the model ended its turn, or a stop text appeared. `length`: `max_tokens` were made."""


@dataclass(frozen=True, kw_only=True)
class Delta:
    """What an answer has grown by."""

    text: str
    """Whole characters only; may be empty in the last delta."""
    token_ids: tuple[int, ...]
    """The tokens made since the last delta. A token that ends the turn is not among them."""
    finish_reason: FinishReason | None = None
    """Set in the last delta, and only there."""


class CompletionStream(Iterator[Delta], AsyncIterator[Delta]):
    """The deltas of one answer, for one reader, by `for` or by `async for`; the latter never blocks its event loop.

    Ends after the delta that has a finish reason. Raises what went wrong with this answer, once it has: `EngineError`
    or `EngineClosed`. After `cancel()` it ends without a finish reason.
    """

    def __init__(self, *, prompt_tokens: int, adapter: str | None, on_cancel: Callable[[], None]) -> None:
        self.prompt_tokens = prompt_tokens
        self.adapter = adapter
        self.completion_tokens = 0
        """Tokens made so far, those not read yet included; what ended the turn is not counted."""
        self._on_cancel = on_cancel
        self._changed = threading.Condition()
        self._deltas: deque[Delta] = deque()
        self._ended = False
        self._error: BaseException | None = None
        self._sleeper: tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] | None = None

    def cancel(self, error: BaseException | None = None) -> None:
        """Stop the answer; the engine frees its place within a step. Idempotent, and harmless after the end.

        With an `error`, whoever reads hears of it, after the deltas that there are already.
        """
        with self._changed:
            if self._ended:
                return
            self._error = error
            self._end()
        self._on_cancel()

    def read(self) -> str:
        """The rest of the answer, once it is complete."""
        return "".join(delta.text for delta in self)

    def push(self, delta: Delta) -> None:
        """For the engine: hand over a delta. Nothing happens after the end."""
        with self._changed:
            if self._ended:
                return
            self.completion_tokens += len(delta.token_ids)
            self._deltas.append(delta)
            if delta.finish_reason is not None:
                self._ended = True
            self._wake()

    def fail(self, error: BaseException) -> None:
        """For the engine: end the stream with an error, after the deltas it already holds."""
        with self._changed:
            if self._ended:
                return
            self._error = error
            self._end()

    @property
    def ended(self) -> bool:
        """Whether nothing more will come in."""
        return self._ended

    def __iter__(self) -> "CompletionStream":
        return self

    def __next__(self) -> Delta:
        with self._changed:
            while not self._deltas and not self._ended:
                self._changed.wait()
            delta = self._take()
        if delta is None:
            raise StopIteration
        return delta

    def __aiter__(self) -> "CompletionStream":
        return self

    async def __anext__(self) -> Delta:
        while True:
            with self._changed:
                if self._deltas or self._ended:
                    delta = self._take()
                    break
                loop = asyncio.get_running_loop()
                waiting: asyncio.Future[None] = loop.create_future()
                self._sleeper = (loop, waiting)
            await waiting
        if delta is None:
            raise StopAsyncIteration
        return delta

    def _take(self) -> Delta | None:
        if self._deltas:
            return self._deltas.popleft()
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        return None

    def _end(self) -> None:
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        self._changed.notify_all()
        if self._sleeper is None:
            return
        (loop, waiting), self._sleeper = self._sleeper, None
        try:
            loop.call_soon_threadsafe(_set, waiting)
        except RuntimeError:
            # The reader's event loop is closed: there is no one left to wake.
            pass


def _set(waiting: "asyncio.Future[None]") -> None:
    if not waiting.done():
        waiting.set_result(None)
