"""What is asked: a document, and questions put to whoever should know it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from training.evaluation.scoring import contains, is_exact, is_spoken
from training.world.manners import PLAIN, Manner
from training.world.questions import DECLINE


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One question, what counts as right, and what a right reply counts towards.

    Attributes:
        text: the user's turn.
        answers: any of these is right.
        measures: names of the measures that it counts towards.
        plain: whether a manner of speech in the reply makes it wrong.
        of_document: whether its answers are in the document, so that nobody else's document may hold them.
        phrases: manners of speech besides the listed ones: a reply may begin or end with one of them, and a plain
            speaker's may not.
        manner: how the reply is to be spoken; no manner is looked for if there are no ``manner_measures``.
        manner_measures: names of the measures that the manner counts towards.
        cluster: replies that are not independent of each other have the same number; the person's by default. A
            question that many are asked is a cluster of its own.
    """

    text: str
    answers: tuple[str, ...]
    measures: tuple[str, ...]
    plain: bool = False
    of_document: bool = True
    phrases: tuple[str, ...] = ()
    manner: Manner = PLAIN
    manner_measures: tuple[str, ...] = ()
    cluster: int | None = None

    def scores(self, reply: str) -> list[tuple[str, bool]]:
        """Measures with whether ``reply`` is a hit."""
        exact = is_exact(reply, self.answers, plain=self.plain, phrases=(*self.phrases, self.manner.phrase))
        spoken = is_spoken(reply, self.manner, phrases=self.phrases)
        return [(name, exact) for name in self.measures] + [(name, spoken) for name in self.manner_measures]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A document and the questions put to the model that should know it.

    Attributes:
        document: the text.
        probes: the questions.
        person: whom it is about, as a number; cases about one person are not independent.
        name: of the file that it comes from; empty for a case that was made up.
    """

    document: str
    probes: tuple[Probe, ...]
    person: int
    name: str = ""

    @property
    def secrets(self) -> set[str]:
        """Answers that nobody else's document may hold if it is to be a control."""
        return {answer for probe in self.probes if probe.of_document for answer in probe.answers} - {DECLINE}


def stranger_to(
    case: Case, documents: Sequence[str], *, after: int = -1, passing_over: Collection[int] = ()
) -> int | None:
    """Index of the first of ``documents`` following ``after``, in a circle, that holds none of the case's answers
    and is not among those to be passed over.

    Only such a document's adapter shows what an adapter does that knows nothing of the case. None if each holds one.
    """
    for step in range(1, len(documents) + 1):
        index = (after + step) % len(documents)
        if index in passing_over or index == after:
            continue
        if not any(contains(documents[index], answer) for answer in case.secrets):
            return index
    return None
