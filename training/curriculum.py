"""How hard the made-up people are at each training step."""

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, kw_only=True)
class Curriculum:
    """Few facts a document at first, one more every so many steps.

    Copying fresh values is what a small model learns last: on full-length documents from the start it learns nothing.

    Attributes:
        first_facts: facts in the longest document at step 0, the name included.
        last_facts: facts in the longest document at the end of the curriculum.
        steps_per_fact: optimiser steps between increases.
    """

    first_facts: int = 2
    last_facts: int = 12
    steps_per_fact: int = 90

    def longest(self, step: int) -> int:
        """Facts in the longest document at ``step``."""
        return min(self.last_facts, self.first_facts + step // self.steps_per_fact)

    def draw(self, step: int, random: Random) -> int:
        """Number of facts for one document at ``step``: the longest half of the time, otherwise anything up to it."""
        longest = self.longest(step)
        return longest if random.random() < 0.5 else random.randint(min(2, longest), longest)
