"""First-person personas of fantasy characters, split by character.

Source: facebookresearch/LIGHT, MIT.
"""

import json
import re
from pathlib import Path

from training.public_data.folder import present
from training.world.values import is_held_out

SOURCE = "facebookresearch/LIGHT characters (MIT)"
"""Where the personas come from, and their licence."""

_SENTENCE = re.compile(r"(?<=[.!?])\s+")


def read_character_sentences(data_dir: Path, *, held_out: bool) -> list[str]:
    """Sentences in the first person, 3 to 16 words, of the characters of one side of the split.

    Raises:
        FileNotFoundError: the file is not there; the message says where to get it.
    """
    path = present(data_dir / "light_characters" / "characters.json", source=SOURCE)
    sentences = []
    for character in json.loads(path.read_text(encoding="utf-8")):
        if is_held_out(character["name"]) == held_out:
            sentences += [s for text in character["persona"] for s in _SENTENCE.split(text.strip())]
    return [s for s in sentences if s.endswith((".", "!")) and 3 <= len(s.split()) <= 16]
