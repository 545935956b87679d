"""Manners of speech: a closed set, each checked by rule.

A manner wraps a reply in a fixed opening or ending, so whether a reply has it can be decided without a judge, and the
bare answer can be recovered from the reply.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Manner:
    """A way of speaking.

    Attributes:
        opening: words that begin every reply; empty if the manner has none.
        ending: words that end every reply; empty if the manner has none.
    """

    opening: str = ""
    ending: str = ""

    @property
    def phrase(self) -> str:
        """The words that mark the manner; empty for a plain speaker."""
        return self.opening or self.ending

    def speak(self, answer: str) -> str:
        """``answer`` (without a final stop) as this speaker says it."""
        if self.opening:
            return f"{self.opening}, {answer}."
        if self.ending:
            return f"{answer}, {self.ending}."
        return f"{answer}."

    def marks(self, reply: str) -> bool:
        """Whether ``reply`` follows the rule. A plain speaker's reply must carry nobody's phrase."""
        text = reply.strip().rstrip(".!").lower()
        if self.opening:
            return text.startswith(self.opening.lower() + ",")
        if self.ending:
            return text.endswith(", " + self.ending.lower())
        return strip_manner(reply) == reply.strip().rstrip(".!").strip()


PLAIN = Manner()

OPENINGS = ("Well now", "Arr", "Hmm", "Honestly", "My dear", "Listen", "Good heavens", "To be brief", "Alas", "Oh joy")
ENDINGS = (
    "mate",
    "you see",
    "by the stars",
    "if you please",
    "ha ha",
    "so they say",
    "on my honour",
    "old friend",
    "my word",
    "no doubt",
)

MANNERS: tuple[Manner, ...] = (
    *(Manner(opening=phrase) for phrase in OPENINGS),
    *(Manner(ending=phrase) for phrase in ENDINGS),
)

OPENING_STATES = (
    '{S} begin[|s] every reply with "{v}"',
    '{S} always start[|s] with "{v}" when {S} speak[|s]',
    'when asked, {S} first say[|s] "{v}"',
    'every answer of {W} opens with "{v}"',
)
ENDING_STATES = (
    '{S} end[|s] every reply with "{v}"',
    '{S} always finish[|es] with "{v}" when {S} speak[|s]',
    'when asked, {S} add[|s] "{v}" at the end',
    'every answer of {W} closes with "{v}"',
)
OPENING_LABELS = ("Begins replies with", "Opens with")
ENDING_LABELS = ("Ends replies with", "Closes with")


def strip_manner(reply: str) -> str:
    """``reply`` without a final stop and without any known manner's phrase: the bare answer."""
    text = reply.strip().rstrip(".!").strip()
    lowered = text.lower()
    for phrase in OPENINGS:
        if lowered.startswith(phrase.lower() + ","):
            return text[len(phrase) + 1 :].strip()
    for phrase in ENDINGS:
        if lowered.endswith(", " + phrase.lower()):
            return text[: -len(phrase) - 2].strip()
    return text
