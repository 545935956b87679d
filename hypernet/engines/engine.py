"""What an engine is: adapters come in by value, are named by digest, and answer prompts as streams of tokens."""

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from hypernet.adapters import Adapter
from hypernet.engines.streams import CompletionStream
from hypernet.errors import InvalidRequest


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How tokens are chosen. Raises `InvalidRequest`, with the parameter's name, for a value out of range."""

    max_tokens: int = 128
    """Longest answer, in tokens."""
    temperature: float = 0.0
    """0 takes the likeliest token; higher values draw more freely."""
    top_p: float = 1.0
    """Draws only from the likeliest tokens that together hold this probability, in (0, 1]."""
    stop: tuple[str, ...] = ()
    """Texts that end the answer where they appear; they are not part of it."""
    seed: int | None = None
    """Makes a drawn answer repeatable."""

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise InvalidRequest(f"Expected max_tokens of at least 1, {self.max_tokens} came.", param="max_tokens")
        if not 0 <= self.temperature < math.inf:
            raise InvalidRequest(f"Expected temperature >= 0, {self.temperature} came.", param="temperature")
        if not 0 < self.top_p <= 1:
            raise InvalidRequest(f"Expected top_p in (0, 1], {self.top_p} came.", param="top_p")
        if not all(self.stop):
            raise InvalidRequest("Expected stop texts of at least one character, an empty one came.", param="stop")
        if self.seed is not None and not 0 <= self.seed < 1 << 63:
            raise InvalidRequest(f"Expected seed in [0, 2**63), {self.seed} came.", param="seed")


@dataclass(frozen=True, kw_only=True)
class CompletionRequest:
    """A prompt in tokens, the adapter that answers it, and how."""

    prompt_ids: tuple[int, ...]
    adapter: str | None = None
    """Digest of an adapter that was put; `None` is the base model alone."""
    sampling: Sampling = field(default_factory=Sampling)


@dataclass(frozen=True, kw_only=True)
class EngineHealth:
    """What an engine is doing at this moment."""

    alive: bool
    """Whether requests are taken and worked on."""
    running: int
    """Answers being made in the batch."""
    waiting: int
    """Answers and documents in the queue."""
    max_batch_rows: int
    resident: int
    """Adapters in memory."""
    slots: int
    """Adapters that can be in use at once."""
    slots_in_use: int


class Lease:
    """Keeps one adapter in an engine until `release()`; also a context manager."""

    def __init__(self, digest: str, *, release: Callable[[str], None]) -> None:
        self.digest = digest
        """Of the adapter that is kept."""
        self._release = release
        self._held = threading.Lock()
        self._held.acquire()

    def release(self) -> None:
        """Let go of the adapter. Idempotent, from any thread."""
        # The lock says whether the adapter is still held; of many callers only one gets to open it.
        try:
            self._held.release()
        except RuntimeError:
            return
        self._release(self.digest)

    def __enter__(self) -> "Lease":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


@runtime_checkable
class Engine(Protocol):
    """Runs the base model for many adapters at once. Every method may be called from any thread.

    An adapter is named by its digest, never by a user's name or a path. An answer is made under one adapter to its end,
    whatever is put or dropped meanwhile.
    """

    def put(self, adapter: Adapter) -> None:
        """Bring an adapter in; from then on `complete` and `lease` know its digest. Idempotent.

        It may be evicted when others come, unless it is leased or in use. Raises `AdapterMismatch` for another base
        model, `AdapterInvalid` for one that is not sound or too large for this engine, `EngineBusy` when everything
        that is resident is in use, `EngineClosed`.
        """

    def drop(self, digest: str) -> None:
        """Take an adapter out. Answers that are being made end as they would have; new ones are refused. Idempotent."""

    def resident(self) -> tuple[str, ...]:
        """Digests of the adapters in memory, least recently used first."""

    def lease(self, digest: str) -> Lease:
        """Keep an adapter from being evicted. Raises `NotResident`, `EngineClosed`."""

    def encode(self, sequences: Sequence[Sequence[int]]) -> list[Float[Tensor, "layers _ hidden"]]:
        """`BaseModel.encode_each` on the engine's backbone, between steps of the answers that are being made.

        Blocks; do not call it from an event loop. Raises `PromptTooLong`, `EngineBusy`, `EngineClosed`.
        """

    def complete(self, request: CompletionRequest) -> CompletionStream:
        """Begin an answer; returns at once. The caller reads the stream to its end or cancels it.

        Raises `InvalidRequest`, `PromptTooLong`, `NotResident`, `EngineBusy`, `EngineClosed`.
        """

    def health(self) -> EngineHealth:
        """What the engine is doing; never blocks on the model."""

    def close(self) -> None:
        """End the engine and what waits for it: open streams raise `EngineClosed`. Idempotent."""
