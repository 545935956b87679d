"""Quality against time: one forward pass against optimisation for each document, same rank and target modules."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from time import perf_counter

from hypernet.adapters import Adapter
from hypernet.generators.finetuning import Example, distil, finetune, recital
from training.evaluation.bench import Bench
from training.evaluation.cases import Case, Probe
from training.evaluation.record import Record
from training.evaluation.suites.profiles import SEED
from training.world.documents import FORMS, write_profile
from training.world.people import Person, make_person
from training.world.questions import Question, ask_absent, ask_fact

DISTILLED = (5, 25, 100)
"""Queries of the context distillations."""

PASSES = 12
"""How often an optimised adapter sees each query."""

_LEAST_STEPS = 20
_FACTS = 8
_BATCH = 8
_LEARNING_RATE = 1e-2
_ABSENT_SHARE = 0.15
GENERATED = "generated"


@dataclass(frozen=True, kw_only=True)
class Task:
    """One person to learn.

    Attributes:
        document: states all facts.
        asked: questions that are scored; none of them is among the queries.
        queries: what an optimised adapter learns from, with the true replies.
    """

    document: str
    asked: tuple[Question, ...]
    queries: tuple[Question, ...]


def frontier(bench: Bench, count: int, *, distilled: Sequence[int] = DISTILLED) -> Record:
    """The generated adapters of ``count`` people, and adapters optimised for each of them.

    ``distillation-25`` learns what the base model answers to 25 queries with the document in its prompt; ``finetune``
    learns the document and the true answers to as many queries as the largest distillation: the oracle, which knows
    what no other method is told. Their queries ask for this person's facts by name, which a user could not do without
    reading the document first.

    Args:
        bench: what is measured.
        count: number of people.
        distilled: queries of the distillations.
    """
    record = Record()
    tasks = make_tasks(count, queries=max(distilled))
    generated, seconds = _timed(
        bench, GENERATED, len(tasks), lambda person: bench.generator.generate(tasks[person].document).adapter
    )
    bench.ask(record, [_case(task, "exact", person) for person, task in enumerate(tasks)], generated)
    _measure(bench, record, tasks, GENERATED, generated, seconds, of=seconds)
    methods: dict[str, Callable[[Task], list[Example]]] = {
        f"distillation-{queries}": lambda task, queries=queries: _answers(bench, task, queries)  # type: ignore[misc]
        for queries in distilled
    }
    methods["finetune"] = lambda task: _truth(bench, task)
    for method, examples in methods.items():
        adapters, spent = _timed(
            bench,
            method,
            len(tasks),
            # Of the rank that the same person's generated adapter has.
            lambda person, examples=examples: _fitted(bench, examples(tasks[person]), rank=generated[person].rank),  # type: ignore[misc]
        )
        _measure(bench, record, tasks, method, adapters, spent, of=seconds)
        record.compare(f"gap/{method}", f"exact/{GENERATED}", f"exact/{method}")
    ranks = sorted({adapter.rank for adapter in generated})
    record.note(
        f"A person's adapters all have the rank of the generated one, {' or '.join(map(str, ranks))}, on "
        f"{', '.join(bench.generator.signature.target_modules)}; optimised ones see every query {PASSES} times in "
        f"batches of {_BATCH}, or more often where that would be fewer than {_LEAST_STEPS} steps. Times are one "
        f"document after another, the teacher's answers included, on {bench.base.device.type}."
    )
    return record


def make_tasks(count: int, *, queries: int) -> list[Task]:
    """People with eight facts, each asked twice about each of them, and as many other ``queries`` to learn from."""
    tasks = []
    for index in range(count):
        random = Random(f"frontier {SEED} {index}")
        person = make_person(random, fact_count=_FACTS, reserved=True)
        document = write_profile(person, random, form=FORMS[index % len(FORMS)]).text
        asked = [ask_fact(person, key, random) for key in [*person.facts, *person.facts]]
        tasks.append(
            Task(document=document, asked=tuple(asked), queries=tuple(_queries(person, random, asked, count=queries)))
        )
    return tasks


def _queries(person: Person, random: Random, asked: Sequence[Question], *, count: int) -> list[Question]:
    """Questions about the facts and some about what is not said, none in the words of one that is scored."""
    taken = {question.text for question in asked}
    queries: list[Question] = []
    while len(queries) < count:
        # In turn, so that few queries too reach most of the facts.
        key = list(person.facts)[len(queries) % len(person.facts)]
        absent = random.random() < _ABSENT_SHARE
        query = ask_absent(person, random) if absent else ask_fact(person, key, random)
        if query.text not in taken:
            queries.append(query)
    return queries


def _timed(bench: Bench, method: str, people: int, make: Callable[[int], Adapter]) -> tuple[list[Adapter], list[float]]:
    """An adapter for each person and the seconds it took, after one that warms up."""
    if method == GENERATED:
        make(0)
    adapters, seconds = [], []
    for person in range(people):
        started = perf_counter()
        adapters.append(make(person))
        seconds.append(perf_counter() - started)
        bench.progress(method, person + 1, people)
    return adapters, seconds


def _measure(
    bench: Bench,
    record: Record,
    tasks: Sequence[Task],
    method: str,
    adapters: Sequence[Adapter],
    seconds: Sequence[float],
    *,
    of: Sequence[float],
) -> None:
    cases = [_case(task, f"exact/{method}", person) for person, task in enumerate(tasks)]
    bench.ask(record, cases, adapters, arms=("adapter",), label=method)
    for person, (spent, generation) in enumerate(zip(seconds, of, strict=True)):
        record.amount(f"time_s/{method}", "adapter", spent, cluster=person)
        if method != GENERATED:
            record.amount(f"time-ratio/{method}", "adapter", spent, of=generation, cluster=person)


def _case(task: Task, name: str, person: int) -> Case:
    probes = tuple(Probe(text=q.text, answers=(q.answer,), measures=(name,), manner=q.manner) for q in task.asked)
    return Case(document=task.document, probes=probes, person=person)


def _answers(bench: Bench, task: Task, queries: int) -> list[Example]:
    """What the base model says to so many queries with the document in its prompt."""
    return distil(bench.base, task.document, [query.text for query in task.queries[:queries]])


def _truth(bench: Bench, task: Task) -> list[Example]:
    """The true replies to all queries, and the document."""
    examples = [_true_reply(bench, query) for query in task.queries]
    return [*examples, replace(recital(bench.base, task.document), weight=0.25)]


def _true_reply(bench: Bench, query: Question) -> Example:
    asked = [{"role": "user", "content": query.text}]
    prompt = bench.base.render_chat(asked)
    whole = bench.base.render_chat([*asked, {"role": "assistant", "content": query.reply}], add_generation_prompt=False)
    return Example(prompt_ids=tuple(prompt), reply_ids=tuple(whole[len(prompt) :]))


def _fitted(bench: Bench, examples: Sequence[Example], *, rank: int) -> Adapter:
    generator = bench.generator
    return finetune(
        bench.base,
        examples,
        target_modules=generator.signature.target_modules,
        rank=rank,
        scaling=generator.hypernetwork.config.scaling,
        steps=max(_LEAST_STEPS, PASSES * len(examples) // _BATCH),
        learning_rate=_LEARNING_RATE,
        seed=0,
        batch_examples=_BATCH,
    )
