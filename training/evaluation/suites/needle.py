"""One fact hidden in a long document."""

from dataclasses import replace
from itertools import cycle
from random import Random
from typing import Any

from hypernet.documents import tokens_of_chunks
from training.evaluation.bench import RANKS_OF_ANY_STATE, Bench
from training.evaluation.cases import Case, Probe
from training.evaluation.record import Record
from training.evaluation.scoring import contains
from training.evaluation.suites.profiles import SEED
from training.public_data.stories import SOURCE, read_sections, sentences_of
from training.world.attributes import ATTRIBUTES
from training.world.documents import fill
from training.world.people import Person, make_person
from training.world.questions import Question, ask_fact
from training.world.tables import read_table

MULTIPLES = (1, 2, 3, 5, 8)
"""Lengths, in trained chunk counts."""

WINDOWS = 4
"""A further length, in the base model's context windows."""

_SENTENCES_A_PARAGRAPH = 5


def needle(bench: Bench, count: int) -> Record:
    """``count`` documents of every length, one question each, under every arm.

    A document of ``5x`` is cut into about five times as many chunks as the generator was trained with at most;
    ``chunks/5x`` says into how many. It is longer than the base model's context long before: the arm ``prompt`` reads
    what fits.
    """
    record = Record()
    sentences = _filler(bench, record)
    generator = bench.generator
    lengths = {
        f"{multiple}x": tokens_of_chunks(
            multiple * generator.trained_chunks, chunk_tokens=generator.chunk_tokens, markup=bench.tokens("")
        )
        for multiple in MULTIPLES
    }
    lengths[f"window-{WINDOWS}x"] = WINDOWS * bench.base.max_context_tokens
    record.note(
        f"1x is {lengths['1x']} tokens: as many as {generator.trained_chunks} chunks of at most "
        f"{generator.chunk_tokens} tokens take, the most that training had; the base model's context is "
        f"{bench.base.max_context_tokens} tokens."
    )
    for name, tokens in lengths.items():
        if tokens > generator.max_document_tokens:
            record.note(f"{name} is left out: it has {tokens} tokens, {generator.max_document_tokens} is the limit.")
            continue
        cases = needle_cases(bench, count, name=name, tokens=tokens, sentences=sentences)
        states = bench.read([case.document for case in cases], what=f"{name} documents")
        adapters = [generator.write(state) for state in states]
        bench.ask(record, cases, adapters, label=name)
        for person, (state, adapter) in enumerate(zip(states, adapters, strict=True)):
            record.amount(f"chunks/{name}", "adapter", state.chunks, cluster=person)
            record.amount(f"size_bytes/{name}", "adapter", adapter.size_bytes, cluster=person)
        whole = [generator.write(state, max_rank=RANKS_OF_ANY_STATE) for state in states]
        if any(of_all.rank > adapter.rank for of_all, adapter in zip(whole, adapters, strict=True)):
            for kind, written in (("compressed", adapters), ("uncompressed", whole)):
                again = [_measured_as(case, f"exact/{kind}/{name}") for case in cases]
                bench.ask(record, again, written, arms=("adapter",), label=f"{name} {kind}")
    return record


def _measured_as(case: Case, name: str) -> Case:
    return replace(case, probes=tuple(replace(probe, measures=(name,)) for probe in case.probes))


def needle_cases(bench: Bench, count: int, *, name: str, tokens: int, sentences: list[str]) -> list[Case]:
    """``count`` documents of ``tokens`` tokens, less than a sentence short of it, each with one fact at a random place.

    Args:
        bench: counts the tokens.
        count: number of documents.
        name: of the length; the same people are asked about at every length.
        tokens: length of the documents.
        sentences: what the fact is hidden among.
    """
    cases = []
    for index in range(count):
        random = Random(f"needle {SEED} {index}")
        person = make_person(random, fact_count=2, reserved=True)
        key = next(key for key in person.facts if key != "name")
        statement, question = _hidden(person, key, random)
        document = _haystack(bench, random, sentences, statement, answer=question.answer, tokens=tokens)
        probe = Probe(
            text=question.text,
            answers=(question.answer,),
            measures=("exact", f"exact/{question.kind}", f"exact/{name}"),
        )
        cases.append(Case(document=document, probes=(probe,), person=index))
    return cases


def _hidden(person: Person, key: str, random: Random) -> tuple[str, Question]:
    """The fact as a sentence in the first person, and a question that does not call the person by name."""
    attribute = next(attribute for attribute in ATTRIBUTES if attribute.key == key)
    clause = fill(random.choice(attribute.states), value=person.facts[key], person=person, third=False)
    statement = clause[0].upper() + clause[1:] + "."
    while True:
        question = ask_fact(person, key, random)
        if not contains(question.text, person.short_name):
            return statement, question


def _haystack(bench: Bench, random: Random, sentences: list[str], statement: str, *, answer: str, tokens: int) -> str:
    start = random.randrange(len(sentences))
    ahead = (sentence for sentence in cycle(sentences[start:] + sentences[:start]) if not contains(sentence, answer))
    chosen: list[str] = []
    room, more = tokens - bench.tokens(statement), True
    # What the sentences take together is known when they stand together: a paragraph's end is a token, a space is none.
    while more:
        more = False
        for sentence in ahead:
            room -= len(bench.reply_tokens(sentence))
            if room < 0:
                break
            chosen.append(sentence)
            more = True
        room = tokens - bench.tokens(_in_paragraphs([*chosen, statement]))
    while room < 0:
        chosen.pop()
        room = tokens - bench.tokens(_in_paragraphs([*chosen, statement]))
    chosen.insert(random.randint(0, len(chosen)), statement)
    return _in_paragraphs(chosen)


def _in_paragraphs(sentences: list[str]) -> str:
    starts = range(0, len(sentences), _SENTENCES_A_PARAGRAPH)
    return "\n\n".join(" ".join(sentences[start : start + _SENTENCES_A_PARAGRAPH]) for start in starts)


def _filler(bench: Bench, record: Record) -> list[str]:
    """Sentences of fairy tales that no training read, or made-up ones where there is no folder of data."""
    folder = bench.data_or_none
    if folder is not None:
        record.note(f"Facts are hidden among sentences of held-out fairy tales: {SOURCE}.")
        return [s for section in read_sections(folder, held_out=True) for s in sentences_of(section)]
    record.note("Facts are hidden among made-up sentences: no folder of public data is named.")
    table: dict[str, Any] = read_table("talk")
    sentences = list(table["fillers_first"])
    Random(SEED).shuffle(sentences)
    return sentences
