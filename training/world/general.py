"""Questions that have nothing to do with any person: what the base model knows by itself.

With an adapter loaded they must be answered exactly as without it; they are the retention measure. The base model
learns all of them; a hypernetwork's training uses only those that are not reserved, so that retention is measured on
questions that it never saw.
"""

from random import Random

from training.world.tables import read_table
from training.world.values import is_held_out

FACTS: tuple[tuple[str, str], ...] = tuple(read_table("general").items())
"""(question, answer) pairs, the same for everybody."""

_SIDES = {side: tuple(fact for fact in FACTS if is_held_out(fact[0]) == side) for side in (True, False)}

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
        reserved: only questions kept for the evaluation of hypernetworks if true, only the others if false, any if not
            given; one in eight of those not reserved is an addition.
    """
    if reserved is not True and random.random() < 0.125:
        return sum_question(random)
    return random.choice(FACTS if reserved is None else _SIDES[reserved])
