"""Sections of fairy tales, split by story as published.

Source: uci-soe/FairytaleQAData, Apache-2.0.
"""

import csv
from pathlib import Path

from training.public_data.folder import present

SOURCE = "uci-soe/FairytaleQAData (Apache-2.0)"
"""Where the stories come from, and their licence."""


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
