"""Sections of fairy tales, split by story as published.

Source: uci-soe/FairytaleQAData, Apache-2.0.
"""

import csv
import re
from pathlib import Path
from random import Random

from training.public_data.folder import present

SOURCE = "uci-soe/FairytaleQAData (Apache-2.0)"
"""Where the stories come from, and their licence."""


_SENTENCE = re.compile(r"(?<=[.!?])\s+")


def sentences_of(section: str) -> list[str]:
    """The sentences of ``section``."""
    return [sentence for sentence in _SENTENCE.split(section) if sentence]


def excerpt(text: str, count: int, random: Random) -> str:
    """At most ``count`` words of ``text`` in a row, from a random place on."""
    words = text.split()
    start = random.randint(0, max(0, len(words) - count))
    return " ".join(words[start : start + count])


def read_sections(data_dir: Path, *, held_out: bool) -> list[str]:
    """Sections of the stories of ``train`` or, if ``held_out``, of ``val``, story by story: `read_stories`."""
    return [section for sections in read_stories(data_dir, held_out=held_out).values() for section in sections]


def read_stories(data_dir: Path, *, held_out: bool) -> dict[str, list[str]]:
    """The stories of ``train`` or, if ``held_out``, of ``val`` by name: their sections, paragraphs joined.

    Raises:
        FileNotFoundError: the folder is not there; the message says where to get it.
    """
    folder = data_dir / "fairytale_qa" / "section-stories" / ("val" if held_out else "train")
    stories: dict[str, list[str]] = {}
    for path in sorted(present(folder, source=SOURCE).glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            sections = [" ".join(row["text"].split()) for row in csv.DictReader(file)]
        stories[path.stem] = [section for section in sections if section]
    return stories
