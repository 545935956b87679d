"""Documents of training in a random number of chunks."""

import re
from collections.abc import Sequence
from random import Random

_PIECES = re.compile(r".+?(?:[.!?](?=\s)|\n|$)\s*", re.DOTALL)


def split_at_random(text: str, parts: int, random: Random) -> list[str]:
    """``text`` in at most ``parts`` pieces of random length, cut between sentences or lines; nothing is lost but space
    around the cuts.
    """
    pieces = [piece for piece in _PIECES.findall(text) if piece]
    parts = min(parts, len(pieces))
    if parts < 2:
        return [text]
    cuts = sorted(random.sample(range(1, len(pieces)), parts - 1))
    bounds = zip([0, *cuts], [*cuts, len(pieces)], strict=True)
    return ["".join(pieces[start:end]).strip() for start, end in bounds]


def among(chunks: Sequence[str], fillers: Sequence[str], random: Random) -> list[str]:
    """``chunks`` in their order with ``fillers`` at random places between them."""
    mixed = list(chunks)
    for filler in fillers:
        mixed.insert(random.randint(0, len(mixed)), filler)
    return mixed
