"""Open-vocabulary values: made-up and real names, places, organisations, words and numbers.

A value belongs to exactly one split. ``is_reserved`` decides by hash, so the rule needs no list, holds for values that
nobody enumerated, and can be checked by anyone: training draws only unreserved values, evaluation only reserved ones.
"""

import hashlib
from collections.abc import Callable
from random import Random

RESERVED_SHARE = 8
"""One value in this many is kept for evaluation."""

_ONSETS = "b br c ch d dr f fl g gr h j k kl l m n p pr qu r s sh sk st t th tr v w y z".split()
_VOWELS = "a e i o u ai ea ia oo ou".split()
_CODAS = ["", "", "", "", "l", "m", "n", "r", "s", "th", "x", "ck", "nd", "rn", "st"]
_TOWN_ENDS = "ford ton mere wick haven bridge dale mouth field stead burgh moor holm gate".split()
_REAL_FIRST = (
    "Ada Agnes Albert Alice Amir Amos Anna Anton Arthur Astrid Bela Bruno Carla Carmen Cecil Clara Conrad Dana Daniel "
    "Dora Edgar Edith Elena Elias Ella Emil Emma Enzo Erik Esther Eva Felix Fiona Frank Freya George Grace Greta Gustav "
    "Hana Hannah Harold Hazel Helen Henry Hugo Ida Ingrid Irene Iris Ivan Ivy Jack Jakob James Jane Jonas Joseph Julia "
    "Karl Kate Kofi Lara Laura Leila Leo Lena Linda Liam Louis Lucy Lydia Mabel Maria Mark Martha Martin Max Maya Mia "
    "Milo Mina Mira Nadia Nina Nora Oliver Olga Omar Oscar Otto Paul Pedro Petra Peter Piotr Rahul Rosa Ruth Sam Sara "
    "Selma Simon Sofia Stella Tara Theo Thomas Tilda Tom Ursula Vera Victor Viola Walter Wanda William Yara Yusuf Zoe"
).split()
_REAL_LAST = (
    "Adams Baker Becker Bell Berg Bishop Black Brook Brown Carter Chen Clark Cole Cook Cross Dahl Diaz Dunn Evans Fischer "
    "Fox Garcia Gray Green Hall Hansen Hart Hill Holt Howard Hughes Ivanov Jones Kaya Keller King Klein Kovacs Lane Lee "
    "Lopez Lund Marsh Mason Meyer Mills Moore Morris Nagy Novak Okafor Olsen Owens Park Parker Patel Perry Price Quinn "
    "Reed Rossi Roth Santos Sato Shaw Silva Singh Smith Stone Tanaka Taylor Turner Vega Vogel Walker Ward Watson Weber "
    "West White Wolf Wood Wright Young Zhang"
).split()
_REAL_TOWNS = (
    "Aberdeen Athens Austin Bergen Berlin Boston Bristol Cairo Calgary Chicago Cork Dakar Delhi Denver Dover Dublin "
    "Durham Exeter Florence Geneva Genoa Glasgow Hamburg Hanoi Havana Helsinki Houston Jakarta Kyoto Lagos Leeds Lima "
    "Lisbon London Lyon Madrid Malaga Manila Marseille Miami Milan Munich Nairobi Naples Nice Osaka Oslo Ottawa Oxford "
    "Paris Perth Porto Prague Quito Riga Rome Salem Santiago Seattle Seoul Seville Sofia Stockholm Sydney Tampa Tokyo "
    "Toronto Tunis Turin Utrecht Venice Vienna Warsaw York Zagreb Zurich"
).split()
_ORGANISATION_KINDS = "Mill Works Press Bank Brothers Bakery Academy Theatre Museum Farm Company Hospital Shipyard".split()
_STREET_KINDS = "Street Lane Road Row Square Hill Alley Way".split()


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
    parts = [random.choice(_ONSETS) + random.choice(_VOWELS) for _ in range(count)]
    return "".join(parts) + random.choice(_CODAS)


def first_name(random: Random) -> str:
    """A given name: real one time in four, otherwise made of two or three syllables."""
    if random.random() < 0.25:
        return random.choice(_REAL_FIRST)
    return _syllables(random, random.choice((2, 2, 2, 3))).capitalize()


def last_name(random: Random) -> str:
    """A family name: real one time in four, otherwise made of one or two syllables."""
    if random.random() < 0.25:
        return random.choice(_REAL_LAST)
    return _syllables(random, random.choice((1, 2, 2))).capitalize()


def full_name(random: Random) -> str:
    """Given and family name, a space between."""
    return f"{first_name(random)} {last_name(random)}"


def town(random: Random) -> str:
    """A place: real one time in four, otherwise syllables, half of them with an English place ending."""
    if random.random() < 0.25:
        return random.choice(_REAL_TOWNS)
    if random.random() < 0.5:
        return (_syllables(random, random.choice((1, 2))) + random.choice(_TOWN_ENDS)).capitalize()
    return _syllables(random, random.choice((2, 3))).capitalize()


def organisation(random: Random) -> str:
    """An employer, such as ``Velmor Mill``."""
    return f"{last_name(random)} {random.choice(_ORGANISATION_KINDS)}"


def street(random: Random) -> str:
    """A street, such as ``Tanner Lane``."""
    return f"{last_name(random)} {random.choice(_STREET_KINDS)}"


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
