"""Documents about a person: first-person notes, third-person biographies and character sheets."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from training.world.attributes import BY_KEY
from training.world.manners import manner_labels, manner_states
from training.world.people import Person
from training.world.tables import read_table

Form = Literal["notes", "biography", "sheet"]
FORMS: tuple[Form, ...] = ("notes", "biography", "sheet")

_TALK: dict[str, Any] = read_table("talk")
_TITLES = ("", "", "", "# Profile\n", "Character sheet\n", "# About\n", "## Who I am\n", "Profile:\n")

_CHOICE = re.compile(r"\[([^|\]]*)\|([^\]]*)\]")


@dataclass(frozen=True, kw_only=True)
class Written:
    """A document, and how it says what it says.

    Attributes:
        text: the document.
        unseen_statements: keys of the facts that it states in wordings kept for evaluation.
    """

    text: str
    unseen_statements: frozenset[str] = frozenset()


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


def filler_text(random: Random, *, sentences: int) -> str:
    """So many sentences that state nothing that is ever asked."""
    return " ".join(random.sample(_TALK["fillers_first"], sentences))


class _Writer:
    """Writes one document. A share of the facts is stated in wordings kept for evaluation."""

    def __init__(self, person: Person, random: Random, *, unseen_share: float, distractors: Sequence[str]) -> None:
        self.person = person
        self.random = random
        self.distractors = list(distractors)
        others = [key for key in person.facts if key != "name"]
        self.unseen = frozenset(key for key in others if random.random() < unseen_share)

    def _state(self, key: str) -> str:
        attribute = BY_KEY[key]
        return self.random.choice(attribute.states_unseen if key in self.unseen else attribute.states)

    def _label(self, key: str) -> str:
        attribute = BY_KEY[key]
        return self.random.choice(attribute.labels_unseen if key in self.unseen else attribute.labels)

    def _clauses(self, *, third: bool) -> list[str]:
        """One clause a fact, the name left out, the rest and the manner shuffled."""
        person = self.person
        clauses = [
            fill(self._state(key), value=value, person=person, third=third)
            for key, value in person.facts.items()
            if key != "name"
        ]
        if person.manner.phrase:
            state = self.random.choice(manner_states(person.manner))
            clauses.append(fill(state, value=person.manner.phrase, person=person, third=third))
        self.random.shuffle(clauses)
        return [self._named(clause) for clause in clauses] if third else clauses

    def _named(self, clause: str) -> str:
        """Sometimes the name in place of a leading pronoun."""
        if clause.startswith(self.person.gender + " ") and self.random.random() < 0.35:
            return self.person.short_name + clause[len(self.person.gender) :]
        return clause

    def _opener(self, *, third: bool) -> str:
        name = self.person.name
        if third:
            return self.random.choice(
                (
                    f"This is {name}",
                    f"{name} is the person described here",
                    f"The name is {name}",
                    f"Meet {name}",
                    f"Here are some notes about {name}",
                    f"These lines are about {name}",
                    f"{name} agreed to be written about",
                )
            )
        return fill(self.random.choice(BY_KEY["name"].states), value=name, person=self.person, third=False)

    def prose(self, *, third: bool) -> str:
        """Sentences, some of two clauses, with sentences of no consequence here and there."""
        random = self.random
        clauses = self._clauses(third=third)
        fillers = _TALK["fillers_third" if third else "fillers_first"]
        sentences = [_capitalised(self._opener(third=third)) + "."]
        filler_rate = random.choice((0.0, 0.1, 0.1, 0.3))
        while clauses:
            if len(clauses) > 1 and random.random() < 0.25:
                first, second = clauses.pop(), clauses.pop()
                joint = random.choice((", and ", ", and ", "; ", " and "))
                sentences.append(_capitalised(f"{first}{joint}{second}."))
            else:
                sentences.append(_capitalised(clauses.pop() + "."))
            if random.random() < filler_rate:
                sentences.append(random.choice(fillers))
        if not third:
            places = sorted(random.randint(1, len(sentences)) for _ in self.distractors)
            for place, distractor in reversed(list(zip(places, self.distractors, strict=True))):
                sentences.insert(place, distractor)
        breaks = random.choice((0, 0, 0, 1, 2))
        cuts = {random.randint(1, len(sentences)) for _ in range(breaks)}
        return "".join(
            sentence + ("\n\n" if at + 1 in cuts and at + 1 < len(sentences) else " ")
            for at, sentence in enumerate(sentences)
        ).rstrip()

    def sheet(self) -> str:
        """``Label: value`` lines, plain or as a Markdown list."""
        random, person = self.random, self.person
        lines = [(self._label(key), value) for key, value in person.facts.items() if key != "name"]
        if person.manner.phrase:
            lines.append((random.choice(manner_labels(person.manner)), f'"{person.manner.phrase}"'))
        random.shuffle(lines)
        lines.insert(0, (random.choice(BY_KEY["name"].labels), person.name))
        style = random.choice(("{}: {}", "{}: {}", "- {}: {}", "* {} = {}", "{} - {}", "**{}**: {}", "{}: {}."))
        return random.choice(_TITLES) + "\n".join(style.format(label, value) for label, value in lines)


def write_profile(
    person: Person,
    random: Random,
    *,
    form: Form | None = None,
    unseen_share: float = 0.0,
    distractors: Sequence[str] = (),
) -> Written:
    """A document that states every fact of ``person`` once, and the manner unless plain.

    Args:
        person: whom it is about.
        random: source of randomness: order, phrasings, fillers.
        form: the kind of document; drawn when not given.
        unseen_share: share of the facts, the name apart, that are stated in wordings kept for evaluation.
        distractors: sentences to put between the others of first-person notes, in their order.
    """
    writer = _Writer(person, random, unseen_share=unseen_share, distractors=distractors)
    match form or random.choice(FORMS):
        case "notes":
            text = writer.prose(third=False)
        case "biography":
            text = writer.prose(third=True)
        case _:
            text = writer.sheet()
    return Written(text=text, unseen_statements=writer.unseen)


def write_document(person: Person, random: Random, *, form: Form | None = None, distractors: Sequence[str] = ()) -> str:
    """The text of a profile in the wordings of training; see :func:`write_profile`."""
    return write_profile(person, random, form=form, distractors=distractors).text
