"""Manners of speech, each checked by rule.

A manner wraps a reply in a fixed opening or ending, so whether a reply has it can be decided without a judge, and the
bare answer can be recovered from the reply. One phrase in eight, chosen by hash, is kept for evaluation.

Phrases are written by hand or made up. A model that has seen a hundred and fifteen phrases knows a hundred and fifteen
phrases, and says one of them when it reads a new one; copying is learnt on phrases that nobody has heard.
"""

from dataclasses import dataclass
from random import Random
from typing import Any

from training.world.tables import read_table
from training.world.values import first_name, is_held_out, last_name, spliced, town, word


@dataclass(frozen=True, kw_only=True)
class Manner:
    """A way of speaking.

    Attributes:
        opening: words that begin every reply; empty if the manner has none.
        ending: words that end every reply; empty if the manner has none.
    """

    opening: str = ""
    ending: str = ""

    @property
    def phrase(self) -> str:
        """The words that mark the manner; empty for a plain speaker."""
        return self.opening or self.ending

    @property
    def is_listed(self) -> bool:
        """Whether the phrase is one of those written by hand."""
        return self.opening.lower() in _BY_OPENING or self.ending.lower() in _BY_ENDING

    @property
    def is_reserved(self) -> bool:
        """Whether training never draws it."""
        return is_held_out(self.phrase)

    def speak(self, answer: str) -> str:
        """``answer`` (without a final stop) as this speaker says it."""
        if self.opening:
            return f"{self.opening}, {answer}."
        if self.ending:
            return f"{answer}, {self.ending}."
        return f"{answer}."

    def marks(self, reply: str) -> bool:
        """Whether ``reply`` follows the rule. A plain speaker's reply must carry nobody's phrase."""
        text = reply.strip().rstrip(".!").lower()
        if self.opening:
            return text.startswith(self.opening.lower() + ",")
        if self.ending:
            return text.endswith(", " + self.ending.lower())
        return strip_manner(reply) == reply.strip().rstrip(".!").strip()


PLAIN = Manner()

_TABLE: dict[str, Any] = read_table("manners")

OPENINGS: tuple[str, ...] = tuple(_TABLE["openings"])
ENDINGS: tuple[str, ...] = tuple(_TABLE["endings"])

MANNERS: tuple[Manner, ...] = (
    *(Manner(opening=phrase) for phrase in OPENINGS),
    *(Manner(ending=phrase) for phrase in ENDINGS),
)

_SIDES = {side: tuple(m for m in MANNERS if m.is_reserved == side) for side in (True, False)}

_BY_OPENING = {phrase.lower(): phrase for phrase in OPENINGS}
_BY_ENDING = {phrase.lower(): phrase for phrase in ENDINGS}


_MADE_UP = 0.7
"""Share of training's manners whose phrase is made up."""

_SPLICED, _SYLLABLES = 0.4, 0.15
"""Shares of a made-up phrase's words that are spliced of two, and that are made of syllables."""


def draw_manner(random: Random, *, reserved: bool) -> Manner:
    """A manner from the asked side of the split, or none at all three times in ten. Those of evaluation are all written
    by hand.
    """
    if random.random() >= 0.7:
        return PLAIN
    if reserved or random.random() >= _MADE_UP:
        return random.choice(_SIDES[reserved])
    return made_up_manner(random)


def made_up_manner(random: Random) -> Manner:
    """An opening or ending of one to five words that makes some sense or none; never one written by hand, and never one
    that is kept for evaluation.
    """
    opens = random.random() < 0.5
    while True:
        if random.random() < 0.6:
            pattern = random.choice(_TABLE["opening_patterns" if opens else "ending_patterns"])
        else:
            pattern = " ".join(random.choice(_PARTS) for _ in range(random.choice((1, 2, 2, 3, 3, 4))))
        phrase = _filled(pattern, random)
        manner = Manner(opening=phrase[0].upper() + phrase[1:]) if opens else Manner(ending=phrase)
        if not manner.is_listed and not manner.is_reserved:
            return manner


_PARTS = ("{noun}", "{noun}", "{adjective}", "{verb}", "{small}", "{given}")


def _filled(pattern: str, random: Random) -> str:
    """``pattern`` with a word of its own for every slot."""
    draws = {
        "{noun}": lambda: _word(random, "nouns"),
        "{adjective}": lambda: _word(random, "adjectives"),
        "{verb}": lambda: _word(random, "verbs"),
        "{small}": lambda: random.choice(_TABLE["small_words"]),
        "{given}": lambda: first_name(random, reserved=False),
        "{family}": lambda: last_name(random, reserved=False),
        "{town}": lambda: town(random, reserved=False),
    }
    for slot, draw in draws.items():
        while slot in pattern:
            pattern = pattern.replace(slot, draw(), 1)
    return pattern


def _word(random: Random, table: str) -> str:
    """A word of ``table``, or one that is in no table: a phrase of evaluation begins with words that no phrase of
    training has, and a model that only knows words cannot say them.
    """
    kind = random.random()
    if kind < _SPLICED:
        return spliced(random, _EVERY_WORD)
    return word(random, reserved=False) if kind < _SPLICED + _SYLLABLES else random.choice(_TABLE[table])


_EVERY_WORD: tuple[str, ...] = (*_TABLE["nouns"], *_TABLE["adjectives"], *_TABLE["verbs"])


def manner_states(manner: Manner, *, unseen: bool = False) -> tuple[str, ...]:
    """Clauses that state ``manner``; those kept for evaluation if ``unseen``."""
    return tuple(_TABLE[("opening_states" if manner.opening else "ending_states") + ("_unseen" if unseen else "")])


def manner_labels(manner: Manner) -> tuple[str, ...]:
    """Names of the field of a character sheet that states ``manner``."""
    return tuple(_TABLE["opening_labels" if manner.opening else "ending_labels"])


def strip_manner(reply: str) -> str:
    """``reply`` without a final stop and without any known manner's phrase: the bare answer."""
    text = reply.strip().rstrip(".!").strip()
    head, comma, rest = text.partition(",")
    if comma and head.lower() in _BY_OPENING:
        return rest.strip()
    rest, comma, tail = text.rpartition(", ")
    if comma and tail.lower() in _BY_ENDING:
        return rest.strip()
    return text
