"""The five arms of every comparison, answered by the engine that the service uses."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from hypernet.adapters import Adapter
from hypernet.engines import CompletionRequest, CompletionStream, InProcessEngine, Sampling
from hypernet.generators import Generator
from training.evaluation.mean_adapter import mean_adapter
from training.evaluation.suites import Case

Arm = Literal["none", "prompt", "adapter", "other", "mean"]
ARMS: tuple[Arm, ...] = ("none", "prompt", "adapter", "other", "mean")

MEAN_PEOPLE = 100
"""People whose adapters are averaged for the mean arm."""

_ROWS = 32
_LONGEST_REPLY = 24


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the model said.

    Attributes:
        case: index of the document.
        question: index of the question in its case.
        text: the reply.
    """

    case: int
    question: int
    text: str


def replies(generator: Generator, cases: Sequence[Case], adapters: Sequence[Adapter], arm: Arm) -> Iterator[Reply]:
    """Greedy replies to every question of ``cases`` under ``arm``, in order.

    - ``none``: the bare model.
    - ``prompt``: the bare model with the document in its prompt, the ceiling.
    - ``adapter``: the document's own adapter.
    - ``other``: the adapter of the next document.
    - ``mean``: the mean adapter of the first hundred documents.

    Args:
        generator: whose base model answers.
        cases: documents and questions.
        adapters: one for each case.
        arm: who is answering.
    """
    mean = mean_adapter(adapters[:MEAN_PEOPLE]) if arm == "mean" else None
    engine = InProcessEngine(
        generator.base,
        slots=4 if mean else 2 * _ROWS,
        max_rank=mean.rank if mean else generator.rank,
        target_modules=generator.target_modules,
        max_batch_rows=_ROWS,
        max_waiting=_ROWS * max(len(case.questions) for case in cases),
    )
    try:
        for start in range(0, len(cases), _ROWS):
            streams: list[tuple[int, int, CompletionStream]] = []
            for index in range(start, min(start + _ROWS, len(cases))):
                adapter = _adapter(arm, index, adapters, mean)
                if adapter is not None:
                    engine.put(adapter)
                streams += [
                    (index, number, engine.complete(_request(generator, cases[index], number, arm, adapter)))
                    for number in range(len(cases[index].questions))
                ]
            for index, number, stream in streams:
                yield Reply(case=index, question=number, text="".join(delta.text for delta in stream))
    finally:
        engine.close()


def _adapter(arm: Arm, index: int, adapters: Sequence[Adapter], mean: Adapter | None) -> Adapter | None:
    match arm:
        case "adapter":
            return adapters[index]
        case "other":
            return adapters[(index + 1) % len(adapters)]
        case _:
            return mean


def _request(generator: Generator, case: Case, number: int, arm: Arm, adapter: Adapter | None) -> CompletionRequest:
    question = {"role": "user", "content": case.questions[number].text}
    document = [{"role": "system", "content": case.document}] if arm == "prompt" else []
    return CompletionRequest(
        prompt_ids=tuple(generator.base.render_chat([*document, question])),
        adapter=None if adapter is None else adapter.digest,
        sampling=Sampling(max_tokens=_LONGEST_REPLY),
    )
