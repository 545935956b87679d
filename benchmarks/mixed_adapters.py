"""Decoding with many adapters in one batch, against the same batch on the bare base model, and against PEFT.

All arms answer the same prompt with the same number of tokens, greedily, in rounds that take every arm in turn, so
that whatever else the machine does falls on all of them; a ratio is that of two medians of one run.
"""

import statistics
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from benchmarks.measures import Measure
from benchmarks.profiles import profile
from hypernet import checkpoints
from hypernet.adapters import Adapter
from hypernet.engines import CompletionRequest, InProcessEngine, Sampling
from hypernet.generators import Generator
from hypernet.models import BaseModel

BATCHES = (1, 8, 32)
BAR_AT_8 = 1.5
ANSWER_TOKENS = 32
PROMPT = [{"role": "user", "content": "Where do you live, and what do you do there?"}]


class _NeverStopping(BaseModel):
    """The base model with no token that ends an answer: every arm makes exactly as many tokens."""

    @property
    def stop_token_ids(self) -> frozenset[int]:
        return frozenset()


def decode_ratios(generator: Generator, *, rounds: int) -> Iterator[Measure]:
    """Milliseconds a decode step for each batch size on the engine without adapters, and every other arm as a ratio."""
    folder = checkpoints.find(generator.name).base
    adapters = [generator.generate(profile(generator, number, tokens=150)).adapter for number in range(max(BATCHES))]
    prompt = generator.base.render_chat(PROMPT)
    base = _NeverStopping.load(folder)
    engine = InProcessEngine(
        base,
        slots=max(BATCHES),
        max_rank=generator.signature.rank,
        target_modules=generator.signature.target_modules,
        max_batch_rows=max(BATCHES),
    )
    for adapter in adapters:
        engine.put(adapter)
    bare = AutoModelForCausalLM.from_pretrained(folder).eval()
    with_peft, names = _peft_model(folder, adapters)

    def on_engine(digests: Sequence[str | None]) -> None:
        sampling = Sampling(max_tokens=ANSWER_TOKENS)
        requests = [
            CompletionRequest(prompt_ids=tuple(prompt), adapter=digest, sampling=sampling) for digest in digests
        ]
        for stream in [engine.complete(request) for request in requests]:
            for _ in stream:
                pass

    for batch in BATCHES:
        arms: dict[str, Callable[[], None]] = {
            "engine": partial(on_engine, [None] * batch),
            "engine_adapters": partial(on_engine, [adapter.digest for adapter in adapters[:batch]]),
            "transformers": partial(_generate, bare, prompt, batch),
            "peft_adapters": partial(_generate, with_peft, prompt, batch, adapter_names=names[:batch]),
        }
        step_ms = _interleaved(arms, rounds=rounds)
        bar = BAR_AT_8 if batch == 8 else None
        name = f"decode.batch_{batch}"
        yield Measure(name=f"{name}.base_step", value=step_ms["engine"], unit="ms")
        for arm, other, limit in (
            ("engine_adapters", "engine", bar),
            ("engine_adapters", "transformers", bar),
            ("peft_adapters", "transformers", None),
            ("peft_adapters", "engine_adapters", None),
        ):
            yield Measure(name=f"{name}.{arm}/{other}", value=step_ms[arm] / step_ms[other], unit="ratio", bar=limit)
    engine.close()
    base.close()


def _interleaved(arms: dict[str, Callable[[], None]], *, rounds: int) -> dict[str, float]:
    """Median milliseconds per token step of each arm; the first round only warms up."""
    times = defaultdict(list)
    for number in range(rounds + 1):
        for name, run in arms.items():
            start = time.perf_counter()
            run()
            if number:
                times[name].append((time.perf_counter() - start) * 1e3 / ANSWER_TOKENS)
    return {name: statistics.median(values) for name, values in times.items()}


@torch.inference_mode()
def _generate(model: PreTrainedModel, prompt: Sequence[int], batch: int, **options: object) -> None:
    ids = torch.tensor([list(prompt)] * batch)
    model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        min_new_tokens=ANSWER_TOKENS,
        max_new_tokens=ANSWER_TOKENS,
        do_sample=False,
        pad_token_id=0,
        **options,
    )


def _peft_model(folder: Path, adapters: Sequence[Adapter]) -> tuple[PreTrainedModel, list[str]]:
    """PEFT with every adapter loaded under a name of its own."""
    # PEFT takes seconds to import, and nothing else here needs it.
    from peft import PeftModel

    names = [f"adapter-{number}" for number in range(len(adapters))]
    model = AutoModelForCausalLM.from_pretrained(folder)
    with tempfile.TemporaryDirectory() as saved, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, (name, adapter) in enumerate(zip(names, adapters)):
            adapter.save(Path(saved) / name)
            if number:
                model.load_adapter(str(Path(saved) / name), adapter_name=name)
            else:
                model = PeftModel.from_pretrained(model, Path(saved) / name, adapter_name=name)
    return model.eval(), names
