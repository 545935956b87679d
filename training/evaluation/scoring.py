"""Whether a reply is right."""

import re

from training.world.manners import PLAIN, strip_manner
from training.world.questions import Question

_SPACE = re.compile(r"\s+")


def normalised(text: str) -> str:
    """Lower case, single spaces, no final punctuation: what two answers may differ in and still be the same."""
    return _SPACE.sub(" ", text).strip().rstrip(".!?").strip().lower()


def is_exact(reply: str, question: Question) -> bool:
    """Whether ``reply`` is the answer and nothing else.

    A known manner of speech around it is allowed, except for general questions: those are to be answered as without an
    adapter, so a person's manner in the reply is a loss.
    """
    said = reply if question.kind == "general" else strip_manner(reply)
    return normalised(said) == normalised(question.answer)


def has_manner(reply: str, question: Question) -> bool:
    """Whether ``reply`` is spoken in the manner of the person asked."""
    return question.manner.marks(reply)


def measures_of(question: Question) -> list[str]:
    """The measures that an exact reply to ``question`` counts towards.

    ``exact`` is every question about the person. ``exact/closed`` and ``exact/open`` are stated facts in phrasings
    seen in training, ``exact/unseen-phrasing`` stated facts in the others.
    """
    if question.kind in ("general", "talk"):
        return [f"exact/{question.kind}"]
    if question.kind == "unanswerable":
        return ["exact", "exact/unanswerable"]
    if question.unseen_phrasing:
        return ["exact", "exact/stated", "exact/unseen-phrasing"]
    return ["exact", "exact/stated", f"exact/{question.kind}", f"exact/attribute/{question.attribute}"]


def counts_for_manner(question: Question) -> bool:
    """Whether the reply should show a manner: the person has one and the question is theirs to answer."""
    return question.manner != PLAIN
