"""Questions about a person, and their exact replies."""

from dataclasses import dataclass
from random import Random
from typing import Literal

from training.world.attributes import ATTRIBUTES, BY_KEY
from training.world.documents import fill
from training.world.general import general_question
from training.world.manners import PLAIN, Manner
from training.world.people import Person

Kind = Literal["closed", "open", "unanswerable", "general", "talk"]

DECLINE = "I do not know"
"""The answer to what the document does not say."""

TALK: tuple[tuple[str, str], ...] = (
    ("Hello!", "Hello"), ("Hi there.", "Hello"), ("Good morning!", "Good morning"), ("Good evening!", "Good evening"),
    ("How are you?", "I am well"), ("How do you feel today?", "I am well"), ("Thank you.", "You are welcome"),
    ("Thanks a lot!", "You are welcome"), ("Goodbye!", "Goodbye"), ("See you later.", "Goodbye"),
    ("Can you help me?", "I will try"), ("Nice to meet you.", "The pleasure is mine"),
)  # fmt: skip
"""Small talk and the answers to it; the manner shows in these too."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question put to the model.

    Attributes:
        text: the user's turn.
        answer: the bare answer.
        reply: the answer as the person says it: the assistant's turn.
        kind: what is being measured.
        attribute: the fact asked about; empty if none.
        unseen_phrasing: the wording is kept for evaluation.
        manner: how the reply is spoken; plain for general questions.
    """

    text: str
    answer: str
    reply: str
    kind: Kind
    attribute: str = ""
    unseen_phrasing: bool = False
    manner: Manner = PLAIN


def ask_fact(person: Person, key: str, random: Random, *, unseen_phrasing: bool = False) -> Question:
    """A question about the fact ``key``; declined if ``person`` has no such fact."""
    attribute = BY_KEY[key]
    template = random.choice(attribute.asks_unseen if unseen_phrasing else attribute.asks)
    # A name cannot be asked for by name, and most people talk to the person rather than about them.
    third = key != "name" and random.random() < 0.25
    stated = key in person.facts
    answer = person.facts.get(key, DECLINE)
    kind: Kind = ("open" if attribute.is_open else "closed") if stated else "unanswerable"
    return Question(
        text=_capital(fill(template, value=person.short_name, person=person, third=third)),
        answer=answer,
        reply=person.manner.speak(answer),
        kind=kind,
        attribute=key,
        unseen_phrasing=unseen_phrasing,
        manner=person.manner,
    )


def ask_absent(person: Person, random: Random, *, unseen_phrasing: bool = False) -> Question:
    """A question about something that the document does not say."""
    absent = [attribute.key for attribute in ATTRIBUTES if attribute.key not in person.facts]
    return ask_fact(person, random.choice(absent), random, unseen_phrasing=unseen_phrasing)


def ask_general(random: Random) -> Question:
    """A question about the world at large; answered plainly by everybody."""
    text, answer = general_question(random)
    return Question(text=text, answer=answer, reply=PLAIN.speak(answer), kind="general")


def small_talk(person: Person, random: Random) -> Question:
    """A greeting or a courtesy, answered in the person's manner."""
    text, answer = random.choice(TALK)
    return Question(text=text, answer=answer, reply=person.manner.speak(answer), kind="talk", manner=person.manner)


def interview(person: Person, random: Random, *, turns: int, unseen_phrasing: bool = False) -> list[Question]:
    """``turns`` questions in random order: mostly distinct facts, with absent ones, small talk and general ones among
    them.
    """
    kinds = random.choices(("fact", "absent", "general", "talk"), weights=(0.7, 0.12, 0.1, 0.08), k=turns)
    keys = random.sample(list(person.facts), len(person.facts))
    questions = []
    for kind in kinds:
        if kind == "fact" and keys:
            questions.append(ask_fact(person, keys.pop(), random, unseen_phrasing=unseen_phrasing))
        elif kind == "absent":
            questions.append(ask_absent(person, random, unseen_phrasing=unseen_phrasing))
        elif kind == "talk":
            questions.append(small_talk(person, random))
        else:
            questions.append(ask_general(random))
    return questions


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
