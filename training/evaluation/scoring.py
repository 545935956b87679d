"""Whether a reply is right."""

import re
from collections.abc import Iterable

from training.world.manners import PLAIN, Manner, strip_manner

_SPACE = re.compile(r"\s+")
_STRAIGHT = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"'})
_QUOTED = re.compile(r'"([^"\n]{1,60})"')


def normalised(text: str) -> str:
    """Lower case, single spaces, straight quotes, none around it, no final punctuation: what two answers may differ in
    and still be the same.
    """
    straight = text.translate(_STRAIGHT)
    return _SPACE.sub(" ", straight).strip().rstrip(".!?").strip(" \"'").rstrip(".!?").strip().lower()


def quoted_phrases(document: str) -> tuple[str, ...]:
    """What ``document`` has in double quotes on one line: how somebody whom it describes might begin or end a reply."""
    return tuple(dict.fromkeys(phrase.strip(" ,.") for phrase in _QUOTED.findall(document.translate(_STRAIGHT))))


def is_exact(reply: str, answers: Iterable[str], *, plain: bool = False, phrases: Iterable[str] = ()) -> bool:
    """Whether ``reply`` is one of ``answers`` and nothing else.

    A known manner of speech around it is allowed, or one of ``phrases``, unless it is to be ``plain``: a general
    question is to be answered as without an adapter, so a person's manner in that reply is a loss.
    """
    said = {normalised(reply)}
    if not plain:
        said.add(normalised(strip_manner(reply)))
        said |= {_without(normalised(reply), normalised(phrase)) for phrase in phrases if normalised(phrase)}
    return any(normalised(answer) in said for answer in answers)


def is_spoken(reply: str, manner: Manner, *, phrases: Iterable[str] = ()) -> bool:
    """Whether ``reply`` is spoken in ``manner``: in none at all, nor with any of ``phrases``, if that is the plain."""
    if not manner.marks(reply):
        return False
    said = normalised(reply)
    return manner != PLAIN or all(_without(said, normalised(phrase)) == said for phrase in phrases)


def _without(reply: str, phrase: str) -> str:
    """``reply`` without ``phrase`` and its comma at the beginning or at the end."""
    if reply.startswith(f"{phrase},"):
        return normalised(reply[len(phrase) + 1 :])
    return normalised(reply.removesuffix(f", {phrase}"))


def contains(text: str, answer: str) -> bool:
    """Whether ``answer`` stands in ``text`` as whole words, in any case."""
    words = re.escape(normalised(answer)).replace(r"\ ", r"\s+")
    return re.search(rf"(?<!\w){words}(?!\w)", text.lower()) is not None
