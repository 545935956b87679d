"""Questions that have nothing to do with any person: what the base model knows by itself.

With an adapter loaded they must be answered exactly as without it; they are the retention measure. The base model
learns all of them; a hypernetwork's training uses only those that are neither reserved for evaluation nor for the
choice of a strength, so that retention is measured on questions that it never saw.
"""

from random import Random

from training.world.tables import read_table
from training.world.values import is_held_out

FACTS: tuple[tuple[str, str], ...] = tuple(read_table("general").items())
"""(question, answer) pairs, the same for everybody."""

_EVALUATION = tuple(fact for fact in FACTS if is_held_out(fact[0]))
_CALIBRATION = tuple(fact for fact in FACTS if fact not in _EVALUATION and is_held_out(f"calibration {fact[0]}"))
_SIDES = {True: _EVALUATION, False: tuple(fact for fact in FACTS if fact not in (*_EVALUATION, *_CALIBRATION))}

NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


def sum_question(random: Random) -> tuple[str, str]:
    """An addition up to twelve, in words: a question and its answer."""
    total = random.randint(1, 12)
    first = random.randint(0, total)
    return f"What is {NUMBERS[first]} plus {NUMBERS[total - first]}?", NUMBERS[total]


def general_question(random: Random, *, reserved: bool | None = None) -> tuple[str, str]:
    """One general question and its answer.

    Args:
        random: source of randomness.
        reserved: only questions kept for the evaluation of hypernetworks if true, only those of their training if
            false, any if not given; one in eight of those not reserved is an addition.
    """
    if reserved is not True and random.random() < 0.125:
        return sum_question(random)
    return random.choice(FACTS if reserved is None else _SIDES[reserved])


def calibration_question(random: Random) -> tuple[str, str]:
    """One of the general questions kept for the choice of a strength, and its answer."""
    return random.choice(_CALIBRATION)
