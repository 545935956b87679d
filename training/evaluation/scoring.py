"""Whether a reply is right."""

import re
from collections.abc import Iterable

from training.world.manners import strip_manner

_SPACE = re.compile(r"\s+")


def normalised(text: str) -> str:
    """Lower case, single spaces, no final punctuation: what two answers may differ in and still be the same."""
    return _SPACE.sub(" ", text).strip().rstrip(".!?").strip().lower()


def is_exact(reply: str, answers: Iterable[str], *, plain: bool = False) -> bool:
    """Whether ``reply`` is one of ``answers`` and nothing else.

    A known manner of speech around it is allowed, unless it is to be ``plain``: a general question is to be answered as
    without an adapter, so a person's manner in that reply is a loss.
    """
    said = {normalised(reply)} if plain else {normalised(reply), normalised(strip_manner(reply))}
    return any(normalised(answer) in said for answer in answers)


def contains(text: str, answer: str) -> bool:
    """Whether ``answer`` stands in ``text`` as whole words, in any case."""
    words = re.escape(normalised(answer)).replace(r"\ ", r"\s+")
    return re.search(rf"(?<!\w){words}(?!\w)", text.lower()) is not None
