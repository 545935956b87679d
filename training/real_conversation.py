"""Real conversation from Synthetic-Persona-Chat, split by persona.

Source: google-research-datasets/Synthetic-Persona-Chat, CC BY 4.0. The file is read from a path that the user gives;
the project holds no copy.
"""

import csv
import hashlib
import os
from pathlib import Path

from training.chat_format import Turn

HELD_OUT_SHARE = 8
"""One persona in this many is kept for evaluation."""

SOURCE = "google-research-datasets/Synthetic-Persona-Chat (CC BY 4.0)"
"""Where the conversations come from, and their licence."""

_FILE = Path("synthetic_persona_chat/valid.csv")
_SPEAKERS = {"User 1": "user", "User 2": "assistant"}


def _is_held_out(persona: str) -> bool:
    return hashlib.sha256(persona.strip().lower().encode()).digest()[0] % HELD_OUT_SHARE == 0


def data_folder(given: Path | None) -> Path:
    """The folder of public data sets: ``given``, or else the one that ``HYPERNET_DATA_DIR`` names.

    Raises:
        FileNotFoundError: neither is set.
    """
    named = given or os.environ.get("HYPERNET_DATA_DIR")
    if not named:
        raise FileNotFoundError(
            "Expected a folder of data sets in `data_dir` or HYPERNET_DATA_DIR, found neither. Set one of them, or set "
            "`real_conversation: false` to train on the made-up world alone."
        )
    return Path(named)


def read_conversations(data_dir: Path, *, held_out: bool) -> list[list[Turn]]:
    """Dialogues in which the assistant is the second speaker and its persona is the system turn.

    A persona is held out or not by its hash. A dialogue is held out if either speaker's persona is, so no held-out
    persona takes part in any training dialogue.

    Args:
        data_dir: folder that holds ``synthetic_persona_chat/valid.csv``.
        held_out: the evaluation side of the split if true, the training side if false.

    Raises:
        FileNotFoundError: the file is not there; the message says where to get it.
    """
    path = data_dir / _FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected real conversation at {path}, found nothing. Get valid.csv from {SOURCE} on GitHub, or set "
            "`real_conversation: false` to train without it."
        )
    with path.open(newline="", encoding="utf-8") as file:
        records = list(csv.DictReader(file))
    conversations = []
    for record in records:
        own, other = record["user 2 personas"], record["user 1 personas"]
        if (_is_held_out(own) or _is_held_out(other)) == held_out:
            conversations.append(_conversation(own, record["Best Generated Conversation"]))
    return [turns for turns in conversations if len(turns) > 2]


def _conversation(persona: str, dialogue: str) -> list[Turn]:
    turns = [Turn(role="system", content=persona.strip())]
    for line in dialogue.splitlines():
        speaker, _, said = line.partition(":")
        role = _SPEAKERS.get(speaker.strip())
        if role in ("user", "assistant") and said.strip():
            turns.append(Turn(role=role, content=said.strip()))  # type: ignore[arg-type]
    return turns
