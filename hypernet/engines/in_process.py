"""The default engine: one thread of this process runs the base model for everybody."""

import logging
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from hypernet.adapters import Adapter
from hypernet.engines.choosing import Chooser, choose
from hypernet.engines.engine import CompletionRequest, EngineHealth, Lease
from hypernet.engines.residency import Residency
from hypernet.engines.row_batch import RowBatch
from hypernet.engines.streams import CompletionStream, Delta, FinishReason
from hypernet.engines.text import TextBuilder
from hypernet.errors import EngineBusy, EngineClosed, EngineError, HypernetError, InvalidRequest, PromptTooLong
from hypernet.models import BASE_SLOT, BaseModel, SlotBank

_log = logging.getLogger(__name__)

_CLOSED = "The engine has been closed."


@dataclass(eq=False, kw_only=True)
class _Answer:
    """An answer from the moment it is asked for: waiting first, then in a row of the batch."""

    request: CompletionRequest
    stream: CompletionStream
    chooser: Chooser
    text: TextBuilder
    cancelled: bool = False
    made: int = 0
    """Tokens chosen so far."""
    unsent: list[int] = field(default_factory=list)
    """Tokens whose text is still held back."""


@dataclass(eq=False, kw_only=True)
class _Reading:
    """Documents to encode, those that are done, and who waits for them."""

    sequences: list[list[int]]
    states: list[Tensor] = field(default_factory=list)
    result: "Future[list[Tensor]]" = field(default_factory=Future)


class InProcessEngine:
    """Runs the base model in a thread of its own: many adapters in one batch, answers joining and leaving at any step.

    Between two steps of the running batch the thread reads at most `max_pass_tokens` tokens of documents and as many of
    new prompts, so that neither stalls the answers for longer than that takes. Prompts come in strictly in the order
    they were asked for; the first one waits for a row and a slot, it is never refused for lack of them. An answer that
    fails ends its own stream with `EngineError` and no other.

    An answer's tokens do not depend on what else runs: see `RowBatch` for what exactly is promised.

    Held: `close()` ends the thread and gives the base model its own layers back.
    """

    def __init__(
        self,
        base: BaseModel,
        *,
        max_rank: int,
        target_modules: Sequence[str],
        slots: int = 64,
        max_batch_rows: int = 32,
        max_waiting: int = 256,
        max_resident: int | None = None,
        max_pass_tokens: int = 512,
    ) -> None:
        """An engine for adapters of at most `max_rank` on `target_modules`, idle until asked.

        `slots` adapters can run at once, `max_resident` (four times as many by default) are kept in memory.
        `max_batch_rows` answers are made at once; beyond that `max_waiting` answers, and as many calls of `encode`,
        wait before `EngineBusy`.
        """
        self.base = base
        self._stop_token_ids = base.stop_token_ids
        self._max_batch_rows = max_batch_rows
        self._max_waiting = max_waiting
        self._max_pass_tokens = max_pass_tokens
        self._bank = SlotBank(base, slots=slots, rank=max_rank, target_modules=target_modules)
        try:
            self._batch = RowBatch(base, self._bank, rows=max_batch_rows)
        except BaseException:
            self._bank.uninstall()
            raise
        # Everything below is shared with callers and guarded by this lock, which is never held during a forward pass.
        self._changed = threading.Condition()
        self._residency = Residency(slots=slots, max_resident=max_resident or 4 * slots)
        self._waiting: deque[_Answer] = deque()
        self._readings: deque[_Reading] = deque()
        self._cancelled = False
        self._closing = False
        # The thread's own; others only look at its length.
        self._running: dict[int, _Answer] = {}
        self._thread = threading.Thread(target=self._run, name="hypernet-engine", daemon=True)
        self._thread.start()

    def put(self, adapter: Adapter) -> None:
        """See `Engine.put`."""
        self._bank.check(adapter)
        _ = adapter.digest  # computed once and kept; it hashes every byte, which is not for inside the lock
        with self._changed:
            self._require_open()
            self._empty(self._residency.put(adapter))

    def drop(self, digest: str) -> None:
        """See `Engine.drop`."""
        with self._changed:
            self._empty(self._residency.drop(digest))

    def resident(self) -> tuple[str, ...]:
        """See `Engine.resident`."""
        with self._changed:
            return self._residency.resident()

    def lease(self, digest: str) -> Lease:
        """See `Engine.lease`."""
        with self._changed:
            self._require_open()
            self._residency.pin(digest)
        return Lease(digest, release=self._release)

    def encode(self, sequences: Sequence[Sequence[int]]) -> list[Float[Tensor, "layers _ hidden"]]:
        """See `Engine.encode`."""
        for sequence in sequences:
            self._require_tokens(sequence, room=0)
        reading = _Reading(sequences=[list(sequence) for sequence in sequences])
        with self._changed:
            self._require_open()
            if len(self._readings) >= self._max_waiting:
                raise EngineBusy(f"{self._max_waiting} documents are waiting; try again in a moment.")
            self._readings.append(reading)
            self._changed.notify()
        return reading.result.result()

    def complete(self, request: CompletionRequest) -> CompletionStream:
        """See `Engine.complete`."""
        sampling = request.sampling
        self._require_tokens(request.prompt_ids, room=sampling.max_tokens)
        stream = CompletionStream(
            prompt_tokens=len(request.prompt_ids), adapter=request.adapter, on_cancel=lambda: self._cancel(answer)
        )
        text = TextBuilder(self.base.tokenizer, stop=sampling.stop)
        answer = _Answer(request=request, stream=stream, chooser=Chooser(sampling), text=text)
        with self._changed:
            self._require_open()
            if len(self._waiting) >= self._max_waiting:
                raise EngineBusy(f"{self._max_waiting} answers are waiting; try again in a moment.")
            if request.adapter is not None:
                self._residency.pin(request.adapter)
            self._waiting.append(answer)
            self._changed.notify()
        return stream

    def health(self) -> EngineHealth:
        """See `Engine.health`."""
        with self._changed:
            return EngineHealth(
                alive=self._thread.is_alive() and not self._closing,
                running=len(self._running),
                waiting=len(self._waiting) + len(self._readings),
                max_batch_rows=self._max_batch_rows,
                resident=len(self._residency.resident()),
                slots=self._residency.slots,
                slots_in_use=self._residency.slots_in_use,
            )

    def close(self) -> None:
        """See `Engine.close`. Returns when the thread has ended."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _require_open(self) -> None:
        if self._closing:
            raise EngineClosed(_CLOSED)

    def _require_tokens(self, ids: Sequence[int], *, room: int) -> None:
        limit = self.base.max_context_tokens
        if not ids:
            raise InvalidRequest("Expected at least one token, none came.")
        if len(ids) + room > limit:
            asked = f" and {room} of answer" if room else ""
            raise PromptTooLong(
                f"{len(ids)} tokens of text{asked} came, the context of {self.base.name} holds {limit}.",
                limit=limit,
                count=len(ids) + room,
            )
        if not 0 <= min(ids) <= max(ids) < self.base.vocab_size:
            raise InvalidRequest(f"Expected token ids below {self.base.vocab_size}, others came.")

    def _empty(self, slots: Sequence[int]) -> None:
        # Under the lock, so that nothing is written to a slot before it is emptied.
        for slot in slots:
            self._bank.clear(slot)

    def _release(self, digest: str) -> None:
        with self._changed:
            self._empty(self._residency.unpin(digest))

    def _cancel(self, answer: _Answer) -> None:
        with self._changed:
            answer.cancelled = self._cancelled = True
            self._changed.notify()

    # What follows runs in the engine's thread.

    def _run(self) -> None:
        try:
            while self._wait_for_work():
                self._turn()
        finally:
            self._end_everything()

    def _wait_for_work(self) -> bool:
        with self._changed:
            while not (self._closing or self._cancelled or self._running or self._waiting or self._readings):
                self._changed.wait()
            return not self._closing

    def _turn(self) -> None:
        try:
            self._retire_cancelled()
            self._read_documents()
            self._admit()
            if self._running:
                self._step()
        except Exception as error:  # noqa: BLE001 - whatever breaks a step, the next request must find a working engine
            self._fail(list(self._running), error)

    def _retire_cancelled(self) -> None:
        if not self._cancelled:
            return
        with self._changed:
            self._cancelled = False
            gone = [answer for answer in self._waiting if answer.cancelled]
            for answer in gone:
                self._waiting.remove(answer)
        for answer in gone:
            self._let_go(answer)
        for row in [row for row, answer in self._running.items() if answer.cancelled]:
            self._retire(row)

    def _read_documents(self) -> None:
        """Encode up to `max_pass_tokens` tokens of the document call that has waited longest, at least one document."""
        if not self._readings:
            return
        reading = self._readings[0]
        todo = reading.sequences[len(reading.states) :]
        count = _within(todo, budget=self._max_pass_tokens)
        try:
            reading.states += self.base.encode_each(todo[:count])
        except Exception as error:  # noqa: BLE001 - it is the caller's, who waits for it in another thread
            self._forget_reading(reading)
            reading.result.set_exception(_translated(error))
            return
        if len(reading.states) == len(reading.sequences):
            self._forget_reading(reading)
            reading.result.set_result(reading.states)

    def _forget_reading(self, reading: _Reading) -> None:
        with self._changed:
            self._readings.remove(reading)

    def _admit(self) -> None:
        """Take the answers that have waited longest into free rows, up to `max_pass_tokens` of prompt, at least one."""
        slots: dict[int, int] = {}
        tokens = 0
        for row in range(self._max_batch_rows):
            if row in self._running:
                continue
            with self._changed:
                if not self._waiting:
                    break
                answer = self._waiting[0]
                tokens += len(answer.request.prompt_ids)
                if slots and tokens > self._max_pass_tokens:
                    break
                digest = answer.request.adapter
                entered = (BASE_SLOT, None) if digest is None else self._residency.enter(digest)
                if entered is None:
                    break
                self._running[row] = self._waiting.popleft()
            slots[row], unwritten = entered
            if unwritten is not None and not self._write(row, slots[row], unwritten):
                del slots[row]
        if not slots:
            return
        try:
            self._batch.begin(
                list(slots), [self._running[row].request.prompt_ids for row in slots], list(slots.values())
            )
        except Exception as error:  # noqa: BLE001 - the answers that run already have no part in it
            self._fail(list(slots), error)

    def _write(self, row: int, slot: int, adapter: Adapter) -> bool:
        try:
            self._bank.write(slot, adapter)
        except Exception as error:  # noqa: BLE001 - it concerns this answer alone
            with self._changed:
                self._residency.unwritten(adapter.digest)
            self._fail([row], error)
            return False
        return True

    def _step(self) -> None:
        logits = self._batch.step()
        running = self._running
        answers = [running.get(row) for row in range(logits.shape[0])]
        tokens = choose(logits, [None if answer is None else answer.chooser for answer in answers])
        for row, (answer, token) in enumerate(zip(answers, tokens)):
            if answer is None:
                continue
            try:
                complete = self._grow(row, answer, token)
            except Exception as error:  # noqa: BLE001 - one answer's text must not cost another its own
                self._fail([row], error)
                continue
            if complete:
                self._retire(row)
        for source, target in self._batch.compact().items():
            running[target] = running.pop(source)

    def _grow(self, row: int, answer: _Answer, token: int | None) -> bool:
        """Give an answer its next token and its reader what can be read; whether the answer is complete."""
        if token is None:
            raise EngineError("The model gave numbers that are not finite under this adapter; generate it again.")
        ended = token in self._stop_token_ids
        text = ""
        if not ended:
            answer.made += 1
            answer.unsent.append(token)
            text = answer.text.push(token)
        full = answer.made >= answer.request.sampling.max_tokens
        if ended or (full and not answer.text.stopped):
            text += answer.text.finish()
        stopped = ended or answer.text.stopped
        if not (stopped or full):
            self._batch.extend(row, token)
        if text or stopped or full:
            reason: FinishReason | None = "stop" if stopped else "length" if full else None
            answer.stream.push(Delta(text=text, token_ids=tuple(answer.unsent), finish_reason=reason))
            answer.unsent.clear()
        return stopped or full

    def _retire(self, row: int) -> None:
        answer = self._running.pop(row)
        try:
            self._batch.clear(row)
        finally:
            if answer.request.adapter is not None:
                with self._changed:
                    self._residency.leave(answer.request.adapter)
            self._let_go(answer)

    def _let_go(self, answer: _Answer) -> None:
        if answer.request.adapter is not None:
            self._release(answer.request.adapter)

    def _fail(self, rows: Sequence[int], error: Exception) -> None:
        for row in rows:
            self._report(self._running[row], error)
            self._retire(row)

    def _report(self, answer: _Answer, error: Exception) -> None:
        if not isinstance(error, HypernetError):
            _log.error("an answer failed in the engine", exc_info=error)
        answer.stream.fail(_translated(error))

    def _end_everything(self) -> None:
        with self._changed:
            self._closing = True
            answers = [*self._waiting, *self._running.values()]
            readings = list(self._readings)
            self._waiting.clear()
            self._readings.clear()
            self._running.clear()
        for answer in answers:
            answer.stream.fail(EngineClosed(_CLOSED))
        for reading in readings:
            reading.result.set_exception(EngineClosed(_CLOSED))
        self._batch.close()
        self._bank.uninstall()


def _within(sequences: Sequence[Sequence[int]], *, budget: int) -> int:
    """How many of the sequences, from the first, hold `budget` tokens together; at least one."""
    total = 0
    for count, sequence in enumerate(sequences):
        total += len(sequence)
        if count and total > budget:
            return count
    return len(sequences)


def _translated(error: Exception) -> HypernetError:
    if isinstance(error, HypernetError):
        return error
    return EngineError(f"The engine failed on this request: {type(error).__name__}.")
