"""Questions about a person, and their exact replies."""

from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from training.world.attributes import ATTRIBUTES, BY_KEY
from training.world.documents import fill
from training.world.general import calibration_question, general_question
from training.world.manners import PLAIN, Manner
from training.world.people import Person
from training.world.tables import read_table

Kind = Literal["closed", "open", "unanswerable", "general", "talk"]

DECLINE = "I do not know"
"""The answer to what the document does not say."""

_TABLE: dict[str, Any] = read_table("talk")

TALK: tuple[tuple[str, str], ...] = tuple((said, answer) for said, answer in _TABLE["talk"])
"""Small talk and the answers to it; the manner shows in these too."""

_CONTRACTIONS = {
    "What is ": "What's ",
    "Who is ": "Who's ",
    "Where is ": "Where's ",
    "I would ": "I'd ",
    "do not ": "don't ",
}


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
        unseen_statement: the document states the fact in a wording kept for evaluation.
        manner: how the reply is spoken; plain for general questions.
    """

    text: str
    answer: str
    reply: str
    kind: Kind
    attribute: str = ""
    unseen_phrasing: bool = False
    unseen_statement: bool = False
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
        text=_as_people_ask(_capital(fill(template, value=person.short_name, person=person, third=third)), random),
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


def ask_general(random: Random, *, reserved: bool | None = None) -> Question:
    """A question about the world at large; answered plainly by everybody. See `general_question` for ``reserved``."""
    text, answer = general_question(random, reserved=reserved)
    return Question(text=text, answer=answer, reply=PLAIN.speak(answer), kind="general")


def ask_for_calibration(random: Random) -> Question:
    """A general question kept for the choice of a strength."""
    text, answer = calibration_question(random)
    return Question(text=text, answer=answer, reply=PLAIN.speak(answer), kind="general")


def small_talk(person: Person, random: Random) -> Question:
    """A greeting or a courtesy, answered in the person's manner."""
    text, answer = random.choice(TALK)
    return Question(text=text, answer=answer, reply=person.manner.speak(answer), kind="talk", manner=person.manner)


def interview(
    person: Person, random: Random, *, turns: int, unseen_phrasing: bool = False, general: bool | None = None
) -> list[Question]:
    """``turns`` questions in random order: mostly distinct facts, with absent ones, small talk and general ones (of the
    side that ``general`` says, see `ask_general`) among them.
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
            questions.append(ask_general(random, reserved=general))
    return questions


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _as_people_ask(text: str, random: Random) -> str:
    """``text`` with a lead-in or an afterthought, contracted or carelessly typed, one time in three."""
    draw = random.random()
    if draw < 0.12:
        lead = random.choice(_TABLE["prefixes"])
        return f"{lead} {text if lead[-1] in '.!?' else _lower(text)}"
    if draw < 0.18:
        return f"{text} {random.choice(_TABLE['suffixes'])}"
    if draw < 0.26:
        for full, short in _CONTRACTIONS.items():
            text = text.replace(full, short)
        return text
    if draw < 0.33:
        return text.lower().rstrip("?.") if random.random() < 0.5 else text.rstrip("?.")
    return text


def _lower(text: str) -> str:
    """A question word or verb in lower case at the start; a name as it is."""
    first = text.split(" ", 1)[0]
    return text[0].lower() + text[1:] if first in _OPENERS else text


_OPENERS = frozenset(
    [
        *("What", "Who", "Where", "Which", "Whom", "Whose", "When", "Why", "How", "Do", "Does", "Did", "Is", "Are"),
        *("Was", "Were", "Can", "Could", "Would", "Will", "May", "Tell", "Say", "Name", "Give", "Please", "In", "On"),
        *("At", "By", "Of", "To", "For", "From", "Under", "With"),
    ]
)
