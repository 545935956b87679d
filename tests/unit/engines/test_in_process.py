"""What is particular to the in-process engine: slots, queues, and faults that must stay where they happen."""

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from hypernet.adapters import Adapter
from hypernet.engines import CompletionRequest, CompletionStream, InProcessEngine, Sampling
from hypernet.errors import EngineBusy, EngineClosed, EngineError
from hypernet.models import BaseModel
from hypernet.models.miniature import miniature_base_model, random_adapter

PROMPT = tuple(range(20, 60))


@pytest.fixture
def base() -> BaseModel:
    return miniature_base_model()


def make(base: BaseModel, **options: int) -> InProcessEngine:
    return InProcessEngine(
        base, max_rank=4, target_modules=("down_proj",), **{"slots": 4, "max_batch_rows": 8, **options}
    )


@pytest.fixture
def engine(base: BaseModel) -> Iterator[InProcessEngine]:
    engine = make(base)
    yield engine
    engine.close()


def start(engine: InProcessEngine, adapter: Adapter | None = None, *, max_tokens: int = 8) -> CompletionStream:
    digest = None if adapter is None else adapter.digest
    return engine.complete(
        CompletionRequest(prompt_ids=PROMPT, adapter=digest, sampling=Sampling(max_tokens=max_tokens))
    )


def tokens(stream: CompletionStream) -> list[int]:
    return [token for delta in stream for token in delta.token_ids]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


class Fault:
    """Makes the model itself fail, once switched on, until it has failed `times` times."""

    def __init__(self, base: BaseModel) -> None:
        self.times = 0
        self.hook = base.layers[0].register_forward_pre_hook(self)

    def __call__(self, *_: object) -> None:
        if self.times:
            self.times -= 1
            raise MemoryError("planted")


def test_admission_waits_for_a_slot_instead_of_failing(base: BaseModel) -> None:
    wide = make(base)
    adapters = [random_adapter(base, seed=seed) for seed in range(3)]
    for adapter in adapters:
        wide.put(adapter)
    expected = [tokens(start(wide, adapter)) for adapter in adapters]
    wide.close()
    narrow = make(base, slots=1, max_resident=3)
    try:
        for adapter in adapters:
            narrow.put(adapter)
        streams = [start(narrow, adapter) for adapter in (*adapters, *adapters)]
        assert [tokens(stream) for stream in streams] == expected + expected
    finally:
        narrow.close()


def test_more_answers_than_rows_wait_their_turn(engine: InProcessEngine) -> None:
    expected = tokens(start(engine))
    streams = [start(engine) for _ in range(25)]
    assert all(tokens(stream) == expected for stream in streams)


def test_put_is_refused_while_everything_resident_is_leased(base: BaseModel) -> None:
    engine = make(base, slots=1, max_resident=1)
    try:
        engine.put(random_adapter(base, seed=1))
        with engine.lease(engine.resident()[0]), pytest.raises(EngineBusy):
            engine.put(random_adapter(base, seed=2))
        engine.put(random_adapter(base, seed=2))
    finally:
        engine.close()


def test_a_full_queue_is_refused_at_once(base: BaseModel) -> None:
    engine = make(base, max_batch_rows=1, max_waiting=2)
    try:
        running = start(engine, max_tokens=200)
        next(running)
        waiting = [start(engine) for _ in range(2)]
        with pytest.raises(EngineBusy, match="2 answers are waiting"):
            start(engine)
        running.cancel()
        assert all(tokens(stream) for stream in waiting)
    finally:
        engine.close()


def test_an_adapter_that_overflows_ends_its_own_stream_only(base: BaseModel, engine: InProcessEngine) -> None:
    sound, wild = random_adapter(base, seed=1), random_adapter(base, seed=2)
    for adapter in (sound, wild):
        engine.put(adapter)
    expected = tokens(start(engine, sound, max_tokens=40))
    tokens(start(engine, wild, max_tokens=1))
    # No file with such values passes validation: plant them where the adapter lies now.
    slot = engine._residency._slot_of[wild.digest]
    for a, _ in engine._bank.pairs:
        a[slot].fill_(float("nan"))
    streams = [start(engine, adapter, max_tokens=40) for adapter in (sound, wild, sound, wild)]
    assert tokens(streams[0]) == tokens(streams[2]) == expected
    for stream in (streams[1], streams[3]):
        with pytest.raises(EngineError, match="not finite"):
            tokens(stream)
    # The rows that it ran in are clean for whoever comes next.
    assert [tokens(start(engine, sound, max_tokens=40)) for _ in range(4)] == [expected] * 4


def test_a_failing_step_ends_what_runs_and_the_engine_goes_on(base: BaseModel, engine: InProcessEngine) -> None:
    fault = Fault(base)
    expected = tokens(start(engine, max_tokens=100))
    streams = [start(engine, max_tokens=100) for _ in range(2)]
    for stream in streams:
        next(stream)
    fault.times = 1
    for stream in streams:
        with pytest.raises(EngineError, match="MemoryError"):
            tokens(stream)
    assert tokens(start(engine, max_tokens=100)) == expected
    assert engine.health().alive


def test_a_failing_prompt_ends_its_own_stream_only(base: BaseModel, engine: InProcessEngine) -> None:
    expected = tokens(start(engine, max_tokens=150))
    running = start(engine, max_tokens=150)
    first = next(running)
    read = engine._batch._read

    def fail(*args: object, **options: object) -> None:
        engine._batch._read = read  # type: ignore[method-assign]
        raise MemoryError("planted")

    engine._batch._read = fail  # type: ignore[method-assign]
    with pytest.raises(EngineError, match="MemoryError"):
        tokens(start(engine))
    assert [*first.token_ids, *tokens(running)] == expected


def test_a_failing_encode_is_its_callers_only(base: BaseModel, engine: InProcessEngine) -> None:
    fault = Fault(base)
    documents = [[5, 6, 7], [8] * 30]
    expected = engine.encode(documents)
    fault.times = 1
    with pytest.raises(EngineError, match="MemoryError"):
        engine.encode(documents)
    assert all(torch.equal(a, b) for a, b in zip(engine.encode(documents), expected))


def test_encode_is_split_so_that_answers_go_on(base: BaseModel) -> None:
    engine = make(base, max_pass_tokens=32)
    try:
        documents = [[5 + index] * 20 for index in range(12)]
        stream = start(engine, max_tokens=200)
        next(stream)
        before = stream.completion_tokens
        together = engine.encode(documents)
        # One document a turn, and a step after each.
        assert stream.completion_tokens - before >= 8
        stream.cancel()
        assert all(torch.equal(a, base.encode_each([ids])[0]) for a, ids in zip(together, documents))
    finally:
        engine.close()


def test_close_ends_encode_calls_and_waiting_answers(base: BaseModel) -> None:
    engine = make(base, max_batch_rows=1, max_pass_tokens=1)
    running, waiting = start(engine, max_tokens=200), start(engine)
    with ThreadPoolExecutor() as pool:
        reading = pool.submit(engine.encode, [[5] * 100] * 2000)
        next(running)
        engine.close()
        for call in (lambda: tokens(running), lambda: tokens(waiting), reading.result):
            with pytest.raises(EngineClosed):
                call()


def test_close_ends_the_thread_and_lets_go_of_the_engine(base: BaseModel) -> None:
    others = set(threading.enumerate())  # a service of another test may keep an engine of its own
    engine = make(base)
    tokens(start(engine))
    engine.close()
    assert not any(thread.name == "hypernet-engine" for thread in set(threading.enumerate()) - others)
    gone = weakref.ref(engine)
    del engine
    gc.collect()
    assert gone() is None


def test_two_engines_one_after_the_other_share_a_base_model(base: BaseModel) -> None:
    answers = []
    for _ in range(2):
        engine = make(base)
        answers.append(tokens(start(engine)))
        engine.close()
    assert answers[0] == answers[1]


def test_nothing_is_kept_of_answers_that_are_over(base: BaseModel, engine: InProcessEngine) -> None:
    adapter = random_adapter(base, seed=1)
    engine.put(adapter)
    streams = [start(engine, adapter) for _ in range(6)]
    streams[0].cancel()
    for stream in streams[1:]:
        tokens(stream)
    gone = [weakref.ref(stream) for stream in streams]
    del streams, stream
    # The engine's thread lets go of the last one a moment after its last delta.
    until(lambda: not engine._residency._pins)
    until(lambda: not gc.collect() and all(reference() is None for reference in gone))
    assert engine.health().slots_in_use == 0
    assert all(lane.keys is not None and lane.keys[:, :, 1:].abs().max() == 0 for lane in engine._batch._cache._lanes)
    engine.drop(adapter.digest)
    assert all(pair.abs().max() == 0 for pairs in engine._bank.pairs for pair in pairs)
