"""What is asked: documents with questions, none of them seen in training."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from training.world.documents import FORMS, write_document
from training.world.people import Person, make_person
from training.world.questions import Question, ask_absent, ask_fact, ask_general, small_talk


@dataclass(frozen=True, kw_only=True)
class Case:
    """A document and the questions put to the model that should know it.

    Attributes:
        document: the text.
        questions: with their exact answers.
    """

    document: str
    questions: tuple[Question, ...]


def profiles(count: int, *, seed: int = 2026) -> list[Case]:
    """People, names, places and numbers that training reserves; 4 to 12 facts each, all three kinds of document.

    Each person is asked up to five stated facts in known phrasings, two in phrasings kept for evaluation, one thing
    that the document does not say, one general question and one courtesy. People, values and the kept phrasings are new
    to the model; the sentences that state a fact, and the general questions, are those of training.
    """
    random = Random(f"evaluation {seed}")
    return [
        _profile(make_person(random, fact_count=4 + index % 9, reserved=True), random, index) for index in range(count)
    ]


def _profile(person: Person, random: Random, index: int) -> Case:
    keys = random.sample(list(person.facts), len(person.facts))
    seen, unseen = keys[:5], random.sample(keys, 2)
    questions = (
        *(ask_fact(person, key, random) for key in seen),
        *(ask_fact(person, key, random, unseen_phrasing=True) for key in unseen),
        ask_absent(person, random),
        ask_general(random),
        small_talk(person, random),
    )
    return Case(document=write_document(person, random, form=FORMS[index % len(FORMS)]), questions=questions)


SUITES: dict[str, Callable[..., list[Case]]] = {"profiles": profiles}
"""Suites by name, each a function of the number of documents."""
