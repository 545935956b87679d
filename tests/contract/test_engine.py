"""What every engine promises, run against each; PEFT says what an adapter's answer is."""

import asyncio
import dataclasses
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from peft import LoraConfig, get_peft_model, set_peft_model_state_dict

from hypernet.adapters import Adapter, LoraPair
from hypernet.engines import CompletionRequest, Delta, Engine, InProcessEngine, Sampling
from hypernet.errors import (
    AdapterInvalid,
    AdapterMismatch,
    EngineClosed,
    InvalidRequest,
    NotResident,
    PromptTooLong,
)
from hypernet.models import BaseModel
from hypernet.models.miniature import miniature_base_model, random_adapter

RANK = 4


@pytest.fixture
def base() -> BaseModel:
    return miniature_base_model()


@pytest.fixture(params=["in-process"])
def engine(request: pytest.FixtureRequest, base: BaseModel) -> Iterator[Engine]:
    engine = InProcessEngine(base, max_rank=RANK, target_modules=("down_proj",), slots=8, max_batch_rows=12)
    yield engine
    engine.close()


def prompt(base: BaseModel, text: str) -> tuple[int, ...]:
    return tuple(base.render_chat([{"role": "user", "content": text}]))


def ask(base: BaseModel, adapter: Adapter | None, text: str = "Who are you?", **sampling: object) -> CompletionRequest:
    return CompletionRequest(
        prompt_ids=prompt(base, text),
        adapter=None if adapter is None else adapter.digest,
        sampling=Sampling(**{"max_tokens": 12, **sampling}),  # type: ignore[arg-type]
    )


def tokens(deltas: list[Delta]) -> list[int]:
    return [token for delta in deltas for token in delta.token_ids]


def text(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas)


def oracle(adapter: Adapter | None, request: CompletionRequest, base: BaseModel) -> tuple[list[int], str]:
    """Greedy decoding with PEFT, one token at a time, without a cache."""
    model = miniature_base_model().module
    if adapter is not None:
        config = LoraConfig(r=adapter.rank, lora_alpha=adapter.rank, target_modules=list(adapter.target_modules))
        model = get_peft_model(model, config).eval()
        state = {}
        for name, pair in adapter.folded().modules.items():
            state[f"base_model.model.{name}.lora_A.weight"] = pair.a
            state[f"base_model.model.{name}.lora_B.weight"] = pair.b
        set_peft_model_state_dict(model, state)
    ids = list(request.prompt_ids)
    made: list[int] = []
    while len(made) < request.sampling.max_tokens:
        with torch.no_grad():
            token = int(model(torch.tensor([ids + made])).logits[0, -1].argmax())
        if token in base.stop_token_ids:
            return made, "stop"
        made.append(token)
    return made, "length"


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_engine_answers_as_peft_does_in_one_mixed_batch(base: BaseModel, engine: Engine) -> None:
    adapters = [None, *(random_adapter(base, seed=seed, scaling=1.5) for seed in range(5))]
    requests = [ask(base, adapter, "Tell me more. " * index) for index, adapter in enumerate(adapters)]
    for adapter in adapters[1:]:
        engine.put(adapter)
    streams = [engine.complete(request) for request in requests]
    answers = [list(stream) for stream in streams]
    assert len({tuple(tokens(answer)) for answer in answers}) == len(answers)
    for adapter, request, answer in zip(adapters, requests, answers):
        made, reason = oracle(adapter, request, base)
        assert tokens(answer) == made
        assert answer[-1].finish_reason == reason
        assert text(answer) == base.tokenizer.decode(made, skip_special_tokens=True)


@pytest.mark.parametrize("temperature", [0.0, 1.2])
def test_engine_answer_does_not_depend_on_company(base: BaseModel, engine: Engine, temperature: float) -> None:
    adapters = [random_adapter(base, seed=seed) for seed in range(6)]
    for adapter in adapters:
        engine.put(adapter)
    requests = [
        ask(
            base,
            adapters[index % 6],
            "word " * (7 * index % 31),
            max_tokens=5 + index,
            temperature=temperature,
            seed=index,
        )
        for index in range(18)
    ]
    alone = [list(engine.complete(request)) for request in requests]
    streams = []
    for request in requests:
        streams.append(engine.complete(request))
        time.sleep(0.004)
    assert [tokens(list(stream)) for stream in streams] == [tokens(answer) for answer in alone]


def test_engine_counts_tokens_and_names_the_adapter(base: BaseModel, engine: Engine) -> None:
    adapter = random_adapter(base, seed=1)
    engine.put(adapter)
    request = ask(base, adapter, max_tokens=3)
    stream = engine.complete(request)
    assert stream.adapter == adapter.digest
    assert stream.prompt_tokens == len(request.prompt_ids)
    assert len(tokens(list(stream))) == stream.completion_tokens


def test_engine_ends_at_a_stop_text(base: BaseModel, engine: Engine) -> None:
    whole = text(list(engine.complete(ask(base, None))))
    stop = whole[2:4]
    answer = list(engine.complete(ask(base, None, stop=(stop,))))
    assert text(answer) == whole[: whole.find(stop)]
    assert answer[-1].finish_reason == "stop"


def test_engine_ends_at_the_end_of_turn(base: BaseModel, engine: Engine) -> None:
    # With tokens drawn all but evenly, random weights end their turn sooner or later; with this seed soon.
    request = ask(base, None, max_tokens=200, temperature=50.0, seed=1)
    answer = list(engine.complete(request))
    assert answer[-1].finish_reason == "stop"
    assert not base.stop_token_ids & set(tokens(answer))


def test_engine_repeats_an_answer_for_the_same_seed(base: BaseModel, engine: Engine) -> None:
    first, again, other = (tokens(list(engine.complete(ask(base, None, temperature=1.0, seed=s)))) for s in (5, 5, 6))
    assert first == again != other


def test_engine_refuses_an_adapter_that_was_not_put(base: BaseModel, engine: Engine) -> None:
    stranger = random_adapter(base, seed=9)
    with pytest.raises(NotResident):
        engine.complete(ask(base, stranger))
    with pytest.raises(NotResident):
        engine.lease(stranger.digest)


def test_engine_put_is_idempotent(base: BaseModel, engine: Engine) -> None:
    adapter = random_adapter(base, seed=1)
    engine.put(adapter)
    engine.put(random_adapter(base, seed=1))
    assert engine.resident() == (adapter.digest,)


def test_engine_refuses_adapters_that_do_not_fit(base: BaseModel, engine: Engine) -> None:
    sound = random_adapter(base, seed=1)
    (name, pair), *_ = sound.modules.items()
    nan = LoraPair(a=pair.a, b=pair.b * float("nan"))
    wide = LoraPair(a=torch.randn(RANK, 48), b=pair.b)
    with pytest.raises(AdapterMismatch):
        engine.put(random_adapter(miniature_base_model(seed=1), seed=1))
    for wrong in (
        random_adapter(base, seed=1, rank=RANK + 1),
        random_adapter(base, seed=1, target_modules=("up_proj",)),
        dataclasses.replace(sound, modules={**sound.modules, name: nan}),
        dataclasses.replace(sound, modules={**sound.modules, name: wide}),
    ):
        with pytest.raises(AdapterInvalid):
            engine.put(wrong)
    assert engine.resident() == ()


def test_engine_answer_goes_on_when_its_adapter_is_dropped(base: BaseModel, engine: Engine) -> None:
    adapter = random_adapter(base, seed=1)
    engine.put(adapter)
    request = ask(base, adapter, max_tokens=60)
    undisturbed = tokens(list(engine.complete(request)))
    stream = engine.complete(request)
    first = next(stream)
    engine.drop(adapter.digest)
    assert engine.resident() == ()
    with pytest.raises(NotResident):
        engine.complete(request)
    for seed in range(10, 16):
        engine.put(random_adapter(base, seed=seed))
    assert tokens([first, *stream]) == undisturbed


def test_engine_keeps_what_is_leased(base: BaseModel, engine: Engine) -> None:
    adapter = random_adapter(base, seed=1)
    engine.put(adapter)
    with engine.lease(adapter.digest) as lease:
        for seed in range(10, 60):
            engine.put(random_adapter(base, seed=seed))
        assert adapter.digest in engine.resident()
        engine.complete(ask(base, adapter, max_tokens=1)).read()
    lease.release()
    until(lambda: engine.health().slots_in_use == 0)  # an answer is read a moment before its adapter is let go
    for seed in range(60, 110):
        engine.put(random_adapter(base, seed=seed))
    assert adapter.digest not in engine.resident()


def test_engine_encodes_beside_running_answers(base: BaseModel, engine: Engine) -> None:
    adapter = random_adapter(base, seed=1)
    engine.put(adapter)
    stream = engine.complete(ask(base, adapter, max_tokens=100))
    next(stream)
    documents = [list(prompt(base, "note " * count)) for count in (1, 30, 9, 30)]
    encoded = engine.encode(documents)
    stream.cancel()
    reference = miniature_base_model()
    for states, expected in zip(encoded, reference.encode_each(documents), strict=True):
        assert torch.equal(states, expected)


def test_engine_refuses_prompts_it_cannot_take(base: BaseModel, engine: Engine) -> None:
    limit = base.max_context_tokens
    with pytest.raises(PromptTooLong) as caught:
        engine.complete(CompletionRequest(prompt_ids=(5,) * (limit - 4), sampling=Sampling(max_tokens=5)))
    assert (caught.value.limit, caught.value.count) == (limit, limit + 1)
    with pytest.raises(PromptTooLong):
        engine.encode([[5] * (limit + 1)])
    for ids in ((), (5, -1), (5, base.vocab_size)):
        with pytest.raises(InvalidRequest):
            engine.complete(CompletionRequest(prompt_ids=ids))


def test_engine_fills_its_context_to_the_last_token(base: BaseModel, engine: Engine) -> None:
    limit = base.max_context_tokens
    full = CompletionRequest(prompt_ids=(5,) * (limit - 1), sampling=Sampling(max_tokens=1))
    answer = list(engine.complete(full))
    assert answer[-1].finish_reason is not None
    assert tokens(answer) == oracle(None, full, base)[0]


def test_engine_answers_a_prompt_of_one_token(base: BaseModel, engine: Engine) -> None:
    request = CompletionRequest(prompt_ids=(7,), sampling=Sampling(max_tokens=6))
    assert tokens(list(engine.complete(request))) == oracle(None, request, base)[0]


def test_engine_cancelled_answers_free_their_place(base: BaseModel, engine: Engine) -> None:
    streams = [engine.complete(ask(base, None, max_tokens=200)) for _ in range(30)]
    next(streams[0])
    for stream in streams:
        stream.cancel()
    until(lambda: engine.health().running == engine.health().waiting == engine.health().slots_in_use == 0)
    assert engine.health().alive
    assert engine.complete(ask(base, None, max_tokens=1)).completion_tokens in (0, 1)


def test_engine_streams_to_many_event_loop_readers_at_once(base: BaseModel, engine: Engine) -> None:
    requests = [ask(base, None, "x" * index) for index in range(6)]
    expected = [tokens(list(engine.complete(request))) for request in requests]

    async def read(request: CompletionRequest) -> list[int]:
        return tokens([delta async for delta in engine.complete(request)])

    async def main() -> list[list[int]]:
        return list(await asyncio.gather(*(read(request) for request in requests)))

    assert asyncio.run(main()) == expected


def test_engine_closed_ends_open_streams_and_refuses_new_ones(base: BaseModel, engine: Engine) -> None:
    adapter = random_adapter(base, seed=1)
    engine.put(adapter)
    lease = engine.lease(adapter.digest)
    stream = engine.complete(ask(base, adapter, max_tokens=200))
    next(stream)
    engine.close()
    engine.close()
    with pytest.raises(EngineClosed):
        list(stream)
    lease.release()
    assert not engine.health().alive
    for call in (
        lambda: engine.complete(ask(base, None)),
        lambda: engine.encode([[5, 6]]),
        lambda: engine.put(adapter),
        lambda: engine.lease(adapter.digest),
    ):
        with pytest.raises(EngineClosed):
            call()


def test_engine_closed_leaves_the_base_model_as_it_was(base: BaseModel, engine: Engine) -> None:
    engine.close()
    ids = torch.tensor([prompt(base, "hello")])
    assert torch.equal(base.module(ids).logits, miniature_base_model().module(ids).logits)


def test_engine_serves_many_threads_at_once(base: BaseModel, engine: Engine) -> None:
    adapters = [random_adapter(base, seed=seed) for seed in range(4)]
    for adapter in adapters:
        engine.put(adapter)
    requests = [ask(base, adapter) for adapter in adapters]
    expected = [tokens(list(engine.complete(request))) for request in requests]

    def work(index: int) -> None:
        for _ in range(3):
            engine.put(adapters[index])
            assert tokens(list(engine.complete(requests[index]))) == expected[index]
            engine.encode([[5, 6, 7]])

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work, index % 4) for index in range(8)]:
            done.result()
