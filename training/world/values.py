"""Open-vocabulary values: made-up and real names, places, organisations, words and numbers.

Every word that makes a value unlike the others (a given name, a family name, a place, a number) belongs to exactly one
split. ``is_reserved`` decides by hash, so the rule needs no list, holds for words that nobody enumerated, and can be
checked by anyone: training draws only unreserved words, evaluation only reserved ones, whatever they are part of.
"""

import hashlib
from collections.abc import Callable, Sequence
from random import Random

from training.world.tables import read_table

RESERVED_SHARE = 8
"""One word in this many is kept for evaluation."""

_NAMES: dict[str, list[str]] = read_table("names")

_FROM_NAMES = 2 / 3

Make = Callable[[Random, bool], str]
"""Draws a value whose distinctive words are all reserved (if the second argument is true) or none of them."""


def is_reserved(value: str) -> bool:
    """Whether ``value`` is kept for evaluation; its first word decides (``Velmor`` in ``Velmor Mill``). Case and
    surrounding space do not matter.
    """
    return is_held_out((value.split() or [""])[0])


def is_held_out(text: str) -> bool:
    """Whether ``text`` as a whole is on the evaluation's side of the split, by its hash; case does not matter."""
    digest = hashlib.sha256(text.strip().lower().encode("utf-8", "surrogatepass")).digest()
    return digest[0] % RESERVED_SHARE == 0


def _drawn(candidate: Callable[[], str], *, reserved: bool) -> str:
    """The first candidate on the asked side of the split."""
    while True:
        value = candidate()
        if is_reserved(value) == reserved:
            return value


def _syllables(random: Random, count: int) -> str:
    parts = [random.choice(_NAMES["onsets"]) + random.choice(_NAMES["vowels"]) for _ in range(count)]
    return "".join(parts) + random.choice(_NAMES["codas"])


def spliced(random: Random, words: Sequence[str]) -> str:
    """The beginning of one of ``words`` with the end of another.

    A tokenizer knows the words of training whole and spells those of evaluation, so copying has to be learnt on words
    that nobody has heard, in any spelling.
    """
    first, other = random.choice(words), random.choice(words).lower()
    return first[: random.randint(2, max(2, len(first) - 1))] + other[random.randint(1, max(1, len(other) - 2)) :]


def _real_or_spliced(random: Random, table: str) -> str:
    """A real name, or one time in two a spliced one."""
    names = _NAMES[table]
    return random.choice(names) if random.random() < 0.5 else spliced(random, names)


def first_name(random: Random, reserved: bool) -> str:
    """A given name: one time in three real, as often spliced of two, otherwise made of two or three syllables."""

    def candidate() -> str:
        if random.random() < _FROM_NAMES:
            return _real_or_spliced(random, "given_names")
        return _syllables(random, random.choice((2, 2, 2, 3))).capitalize()

    return _drawn(candidate, reserved=reserved)


def last_name(random: Random, reserved: bool) -> str:
    """A family name: one time in three real, as often spliced of two, otherwise made of one or two syllables."""

    def candidate() -> str:
        if random.random() < _FROM_NAMES:
            return _real_or_spliced(random, "family_names")
        return _syllables(random, random.choice((1, 2, 2))).capitalize()

    return _drawn(candidate, reserved=reserved)


def full_name(random: Random, reserved: bool) -> str:
    """Given and family name, a space between; both from the asked side of the split."""
    return f"{first_name(random, reserved)} {last_name(random, reserved)}"


def town(random: Random, reserved: bool) -> str:
    """A place: one time in three real, as often spliced of two, otherwise syllables, half of those with an English
    place ending.
    """

    def candidate() -> str:
        if random.random() < _FROM_NAMES:
            return _real_or_spliced(random, "towns")
        if random.random() < 0.5:
            return (_syllables(random, random.choice((1, 2))) + random.choice(_NAMES["town_ends"])).capitalize()
        return _syllables(random, random.choice((2, 3))).capitalize()

    return _drawn(candidate, reserved=reserved)


def organisation(random: Random, reserved: bool) -> str:
    """An employer, such as ``Velmor Mill``."""
    return f"{last_name(random, reserved)} {random.choice(_NAMES['organisations'])}"


def school(random: Random, reserved: bool) -> str:
    """A place of learning, such as ``Velmor Academy``."""
    return f"{last_name(random, reserved)} {random.choice(_NAMES['schools'])}"


def street(random: Random, reserved: bool) -> str:
    """A street, such as ``Tanner Lane``."""
    return f"{last_name(random, reserved)} {random.choice(_NAMES['streets'])}"


def word(random: Random, reserved: bool) -> str:
    """A made-up word in lower case."""
    return _drawn(lambda: _syllables(random, random.choice((2, 3))), reserved=reserved)


def age(random: Random, reserved: bool) -> str:
    """An age in years, 18 to 95."""
    return _drawn(lambda: str(random.randint(18, 95)), reserved=reserved)


def year(random: Random, reserved: bool) -> str:
    """A year of birth, 1900 to 2015."""
    return _drawn(lambda: str(random.randint(1900, 2015)), reserved=reserved)


def small_number(random: Random, reserved: bool) -> str:
    """A number of two or three digits."""
    return _drawn(lambda: str(random.randint(10, 999)), reserved=reserved)


def long_number(random: Random, reserved: bool) -> str:
    """A number of four or five digits."""
    return _drawn(lambda: str(random.randint(1000, 99999)), reserved=reserved)


MAKERS: dict[str, Make] = {
    make.__name__: make
    for make in (
        first_name,
        last_name,
        full_name,
        town,
        organisation,
        school,
        street,
        word,
        age,
        year,
        small_number,
        long_number,
    )
}
"""The makers that the tables of attributes may name."""
