"""Documents about a person: first-person notes, third-person biographies and character sheets."""

import re
from random import Random
from typing import Literal

from training.world.attributes import BY_KEY
from training.world.manners import ENDING_LABELS, ENDING_STATES, OPENING_LABELS, OPENING_STATES, Manner
from training.world.people import Person

Form = Literal["notes", "biography", "sheet"]
FORMS: tuple[Form, ...] = ("notes", "biography", "sheet")

_FILLERS_FIRST = (
    "The mornings are quiet here.", "I do not talk much about it.", "It has been a long year.",
    "Some things never change.", "There is more to say another time.", "I write this by the window.",
    "That is how it is.", "Rain fell all week.", "Life goes on.", "I hope this is enough.",
)  # fmt: skip
_FILLERS_THIRD = (
    "The mornings are quiet there.", "Few people know this.", "It has been a long year.", "Some things never change.",
    "There is more to say another time.", "The neighbours agree.", "That is how it is.", "Rain fell all week.",
    "Life goes on.", "Nobody remembers when it began.",
)  # fmt: skip
_TITLES = ("", "", "# Profile\n", "Character sheet\n", "# About\n")

_CHOICE = re.compile(r"\[([^|\]]*)\|([^\]]*)\]")


def with_article(value: str) -> str:
    """``value`` with *a* or *an*."""
    return f"{'an' if value[0].lower() in 'aeiou' else 'a'} {value}"


def fill(template: str, *, value: str, person: Person, third: bool) -> str:
    """A template of :mod:`training.world.attributes` as a clause without its final stop."""
    she = person.gender == "she"
    if third:
        subject, possessive, obj, whose = ("she", "her", "her", "hers") if she else ("he", "his", "him", "his")
    else:
        subject, possessive, obj, whose = "I", "my", "me", "mine"
    text = _CHOICE.sub(lambda match: match.group(2 if third else 1), template)
    for mark, word in (("{S}", subject), ("{P}", possessive), ("{O}", obj), ("{W}", whose), ("{n}", person.short_name)):
        text = text.replace(mark, word)
    if "{av}" in text:
        text = text.replace("{av}", with_article(value))
    return text.replace("{v}", value)


def _capitalised(text: str) -> str:
    return text[0].upper() + text[1:]


def _manner_state(random: Random, manner: Manner) -> str:
    return random.choice(OPENING_STATES if manner.opening else ENDING_STATES)


def _clauses(person: Person, random: Random, *, third: bool) -> list[str]:
    """One clause a fact, the name first, the rest and the manner shuffled."""
    keys = [key for key in person.facts if key != "name"]
    clauses = [
        fill(random.choice(BY_KEY[key].states), value=person.facts[key], person=person, third=third) for key in keys
    ]
    if person.manner.phrase:
        clauses.append(
            fill(_manner_state(random, person.manner), value=person.manner.phrase, person=person, third=third)
        )
    random.shuffle(clauses)
    return clauses


def _prose(person: Person, random: Random, *, third: bool) -> str:
    """Sentences, some of two clauses, with a filler here and there."""
    name = person.name
    if third:
        opener = random.choice((f"This is {name}", f"{name} is the person described here", f"The name is {name}"))
    else:
        opener = random.choice((f"My name is {name}", f"I am {name}", f"People call me {name}", f"I am called {name}"))
    clauses = _clauses(person, random, third=third)
    if third:
        clauses = [_named(clause, person, random) for clause in clauses]
    sentences = [opener + "."]
    while clauses:
        if len(clauses) > 1 and random.random() < 0.3:
            first, second = clauses.pop(), clauses.pop()
            sentences.append(_capitalised(f"{first}, and {second}."))
        else:
            sentences.append(_capitalised(clauses.pop() + "."))
        if random.random() < 0.12:
            sentences.append(random.choice(_FILLERS_THIRD if third else _FILLERS_FIRST))
    if random.random() < 0.15:
        at = random.randint(1, len(sentences))
        return (
            " ".join(sentences[:at]) + "\n\n" + " ".join(sentences[at:]) if at < len(sentences) else " ".join(sentences)
        )
    return " ".join(sentences)


def _named(clause: str, person: Person, random: Random) -> str:
    """Sometimes the name in place of a leading pronoun."""
    pronoun = person.gender + " "
    if clause.startswith(pronoun) and random.random() < 0.35:
        return person.short_name + clause[len(person.gender) :]
    return clause


def _sheet(person: Person, random: Random) -> str:
    """``Label: value`` lines, plain or as a Markdown list."""
    lines = []
    for key, value in person.facts.items():
        if key != "name":
            lines.append((random.choice(BY_KEY[key].labels), value))
    if person.manner.phrase:
        labels = OPENING_LABELS if person.manner.opening else ENDING_LABELS
        lines.append((random.choice(labels), f'"{person.manner.phrase}"'))
    random.shuffle(lines)
    lines.insert(0, (random.choice(BY_KEY["name"].labels), person.name))
    style = random.choice(("{}: {}", "{}: {}", "- {}: {}", "* {} = {}"))
    return random.choice(_TITLES) + "\n".join(style.format(label, value) for label, value in lines)


def write_document(person: Person, random: Random, *, form: Form | None = None) -> str:
    """A document that states every fact of ``person`` once, and the manner unless plain.

    Args:
        person: whom it is about.
        random: source of randomness: order, phrasings, fillers.
        form: the kind of document; drawn when not given.
    """
    match form or random.choice(FORMS):
        case "notes":
            return _prose(person, random, third=False)
        case "biography":
            return _prose(person, random, third=True)
        case _:
            return _sheet(person, random)
