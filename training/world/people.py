"""People of the made-up world, and profiles: a person with a document and what the document states."""

from dataclasses import dataclass
from random import Random
from typing import Literal

from training.world.attributes import ATTRIBUTES, BY_KEY, NAME
from training.world.manners import Manner, draw_manner

Gender = Literal["she", "he", "they"]


@dataclass(frozen=True, kw_only=True)
class Person:
    """Someone, with all the facts that could be known.

    Attributes:
        facts: attribute key to value; always has ``name``.
        manner: how they speak.
        gender: pronoun for the third person (``they`` takes a singular verb's place poorly, so documents use she or
            he).
    """

    facts: dict[str, str]
    manner: Manner
    gender: Gender

    @property
    def name(self) -> str:
        """Given and family name."""
        return self.facts["name"]

    @property
    def short_name(self) -> str:
        """Given name."""
        return self.facts["name"].split()[0]


def make_person(random: Random, *, fact_count: int, reserved: bool, reserved_manner: bool = False) -> Person:
    """A person with a name and ``fact_count - 1`` further facts.

    Args:
        random: source of randomness.
        fact_count: number of facts, the name included; at least 1.
        reserved: draw open-vocabulary values from the evaluation side of the split.
        reserved_manner: the same for the manner of speech.
    """
    chosen = random.sample(ATTRIBUTES, min(fact_count - 1, len(ATTRIBUTES)))
    facts = {NAME.key: NAME.value(random, reserved=reserved)}
    for attribute in chosen:
        facts[attribute.key] = _distinct(random, attribute.key, facts, reserved=reserved)
    manner = draw_manner(random, reserved=reserved_manner)
    return Person(facts=facts, manner=manner, gender=random.choice(("she", "he")))


def _distinct(random: Random, key: str, facts: dict[str, str], *, reserved: bool) -> str:
    """A value that no other fact of this person has: a home equal to the birthplace could not be told from a mix-up."""
    while True:
        value = BY_KEY[key].value(random, reserved=reserved)
        if value not in facts.values():
            return value
