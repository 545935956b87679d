"""Questions that have nothing to do with any person: what the base model knows by itself.

With an adapter loaded they must be answered exactly as without it; they are the retention measure.
"""

from random import Random

from training.world.tables import read_table

FACTS: tuple[tuple[str, str], ...] = tuple(read_table("general").items())
"""(question, answer) pairs, the same for everybody."""

NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


def sum_question(random: Random) -> tuple[str, str]:
    """An addition up to twelve, in words: a question and its answer."""
    total = random.randint(1, 12)
    first = random.randint(0, total)
    return f"What is {NUMBERS[first]} plus {NUMBERS[total - first]}?", NUMBERS[total]


def general_question(random: Random) -> tuple[str, str]:
    """One general question and its answer, one in eight an addition."""
    return sum_question(random) if random.random() < 0.125 else random.choice(FACTS)
