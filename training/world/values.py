"""Open-vocabulary values: made-up and real names, places, organisations, words and numbers.

A value belongs to exactly one split. ``is_reserved`` decides by hash, so the rule needs no list, holds for values that
nobody enumerated, and can be checked by anyone: training draws only unreserved values, evaluation only reserved ones.
"""

import hashlib
from collections.abc import Callable
from random import Random

from training.world.tables import read_table

RESERVED_SHARE = 8
"""One value in this many is kept for evaluation."""

_NAMES: dict[str, list[str]] = read_table("names")


def is_reserved(value: str) -> bool:
    """Whether ``value`` is kept for evaluation. Case and surrounding space do not matter."""
    digest = hashlib.sha256(value.strip().lower().encode("utf-8", "surrogatepass")).digest()
    return digest[0] % RESERVED_SHARE == 0


def draw(make: Callable[[Random], str], random: Random, *, reserved: bool) -> str:
    """A value from ``make`` that is on the asked side of the split.

    Args:
        make: draws one candidate.
        random: source of randomness.
        reserved: the side: evaluation if true, training if false.
    """
    while True:
        value = make(random)
        if is_reserved(value) == reserved:
            return value


def _syllables(random: Random, count: int) -> str:
    parts = [random.choice(_NAMES["onsets"]) + random.choice(_NAMES["vowels"]) for _ in range(count)]
    return "".join(parts) + random.choice(_NAMES["codas"])


def first_name(random: Random) -> str:
    """A given name: real one time in four, otherwise made of two or three syllables."""
    if random.random() < 0.25:
        return random.choice(_NAMES["given_names"])
    return _syllables(random, random.choice((2, 2, 2, 3))).capitalize()


def last_name(random: Random) -> str:
    """A family name: real one time in four, otherwise made of one or two syllables."""
    if random.random() < 0.25:
        return random.choice(_NAMES["family_names"])
    return _syllables(random, random.choice((1, 2, 2))).capitalize()


def full_name(random: Random) -> str:
    """Given and family name, a space between."""
    return f"{first_name(random)} {last_name(random)}"


def town(random: Random) -> str:
    """A place: real one time in four, otherwise syllables, half of them with an English place ending."""
    if random.random() < 0.25:
        return random.choice(_NAMES["towns"])
    if random.random() < 0.5:
        return (_syllables(random, random.choice((1, 2))) + random.choice(_NAMES["town_ends"])).capitalize()
    return _syllables(random, random.choice((2, 3))).capitalize()


def organisation(random: Random) -> str:
    """An employer, such as ``Velmor Mill``."""
    return f"{last_name(random)} {random.choice(_NAMES['organisations'])}"


def street(random: Random) -> str:
    """A street, such as ``Tanner Lane``."""
    return f"{last_name(random)} {random.choice(_NAMES['streets'])}"


def word(random: Random) -> str:
    """A made-up word in lower case."""
    return _syllables(random, random.choice((2, 3)))


def year(random: Random) -> str:
    """A year of birth, 1900 to 2015."""
    return str(random.randint(1900, 2015))


def small_number(random: Random) -> str:
    """A number of two or three digits."""
    return str(random.randint(10, 999))


def long_number(random: Random) -> str:
    """A number of four or five digits."""
    return str(random.randint(1000, 99999))


MAKERS: dict[str, Callable[[Random], str]] = {
    make.__name__: make
    for make in (first_name, full_name, town, organisation, street, word, year, small_number, long_number)
}
"""The makers that ``attributes.yaml`` may name."""
