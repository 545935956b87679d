"""People, names, places and numbers that training never drew, asked about everything that a profile says."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from zlib import crc32

from training.evaluation.bench import Bench
from training.evaluation.cases import Case, Probe
from training.evaluation.record import Record
from training.world.documents import FORMS, write_profile
from training.world.manners import PLAIN, Manner
from training.world.people import Person, make_person
from training.world.questions import Question, ask_absent, ask_fact, ask_general, small_talk

SEED = 2026

UNSEEN_STATEMENTS = 0.25
"""Share of the facts, the name apart, that a profile states in wordings kept for evaluation."""

_SEEN, _UNSEEN = 5, 2
_TOKENS_STEP = 50


def profiles(bench: Bench, count: int) -> Record:
    """Every question about ``count`` people under every arm."""
    record = Record()
    cases = [with_length(bench, case) for case in with_phrases(profile_cases(count))]
    bench.ask(record, cases, bench.write([case.document for case in cases]))
    return record


def profile_cases(count: int, *, seed: int = SEED) -> list[Case]:
    """``count`` people with 4 to 12 facts each; every kind of document with every number of facts.

    Half of them have a manner of speech that training never drew, if any at all. Each is asked up to five stated facts
    in known phrasings, two in phrasings kept for evaluation, one thing that the document does not say, one general
    question kept for evaluation and one courtesy.
    """
    random = Random(f"evaluation {seed}")
    cases = []
    for index in range(count):
        person = make_person(random, fact_count=4 + index % 9, reserved=True, reserved_manner=index % 2 == 1)
        # Nine counts and three forms: a further step for every round keeps them from going together.
        form = FORMS[(index + index // 9) % len(FORMS)]
        written = write_profile(person, random, form=form, unseen_share=UNSEEN_STATEMENTS)
        keys = random.sample(list(person.facts), len(person.facts))
        probes = [
            stated_probe(ask_fact(person, key, random), unseen_statement=key in written.unseen_statements)
            for key in keys[:_SEEN]
        ]
        probes += [
            stated_probe(ask_fact(person, key, random, unseen_phrasing=True)) for key in random.sample(keys, _UNSEEN)
        ]
        probes += [absent_probe(ask_absent(person, random)), general_probe(random), talk_probe(person, random)]
        cases.append(Case(document=written.text, probes=tuple(probes), person=index))
    return cases


def stated_probe(question: Question, *, unseen_statement: bool = False) -> Probe:
    """A question about a stated fact.

    ``exact/closed``, ``exact/open`` and the attribute's own measure are facts stated and asked in wordings of training;
    ``exact/unseen-phrasing`` those asked in others, ``exact/unseen-statement`` those stated in others.
    """
    if question.unseen_phrasing:
        names = ["exact/unseen-phrasing"]
    elif unseen_statement:
        names = ["exact/unseen-statement"]
    else:
        names = [f"exact/{question.kind}", f"exact/attribute/{question.attribute}"]
    return _probe(question, ["exact", "exact/stated", *names])


def absent_probe(question: Question) -> Probe:
    """A question about what the document does not say; to be declined."""
    return _probe(question, ["exact", "exact/unanswerable"])


def general_probe(random: Random) -> Probe:
    """A general question that no hypernetwork's training used; to be answered plainly. There are few of them, and whom
    it is put to matters less than which one it is.
    """
    question = ask_general(random, reserved=True)
    return Probe(
        cluster=crc32(question.text.encode()),
        text=question.text,
        answers=(question.answer,),
        measures=("exact", "exact/general"),
        plain=True,
        of_document=False,
    )


def talk_probe(person: Person, random: Random) -> Probe:
    """A courtesy, answered in the person's manner."""
    return _probe(small_talk(person, random), ["exact", "exact/talk"], of_document=False)


def with_phrases(cases: Sequence[Case]) -> list[Case]:
    """``cases`` whose probes know the phrases that were made up for any of them: under somebody else's adapter a reply
    may be spoken in that person's manner.
    """
    made_up = {
        probe.manner.phrase: None
        for case in cases
        for probe in case.probes
        if probe.manner != PLAIN and not probe.manner.is_listed
    }
    return [
        replace(case, probes=tuple(replace(probe, phrases=tuple(made_up)) for probe in case.probes)) for case in cases
    ]


def with_length(bench: Bench, case: Case) -> Case:
    """``case`` with its stated facts counted by the document's length too: ``exact/tokens/100`` are documents of 51 to
    100 tokens.
    """
    upper = -(-bench.tokens(case.document) // _TOKENS_STEP) * _TOKENS_STEP
    probes = tuple(
        replace(probe, measures=(*probe.measures, f"exact/tokens/{upper}"))
        if "exact/stated" in probe.measures
        else probe
        for probe in case.probes
    )
    return replace(case, probes=probes)


def _probe(question: Question, names: list[str], *, of_document: bool = True) -> Probe:
    return Probe(
        text=question.text,
        answers=(question.answer,),
        measures=tuple(names),
        of_document=of_document,
        manner=question.manner,
        manner_measures=_manner_measures(question.manner),
    )


def _manner_measures(manner: Manner) -> tuple[str, ...]:
    if manner == PLAIN:
        return ("manner/plain",)
    if manner.is_reserved:
        return ("manner", "manner/unseen")
    return ("manner", "manner/known" if manner.is_listed else "manner/made-up")
