"""Real conversation from Synthetic-Persona-Chat, split by persona.

Source: google-research-datasets/Synthetic-Persona-Chat, CC BY 4.0.
"""

import csv
from pathlib import Path

from training.chat_format import Role, Turn
from training.public_data.folder import present
from training.world.values import is_held_out

SOURCE = "google-research-datasets/Synthetic-Persona-Chat (CC BY 4.0)"
"""Where the conversations come from, and their licence."""

_FILE = Path("synthetic_persona_chat/valid.csv")
_SPEAKERS = ("User 1", "User 2")


def read_conversations(data_dir: Path, *, held_out: bool) -> list[list[Turn]]:
    """Dialogues in which the assistant is one of the speakers and that speaker's persona is the system turn.

    Every dialogue is told twice, from each side. A persona is held out or not by its hash. A dialogue is held out if
    either speaker's persona is, so no held-out persona takes part in any training dialogue.

    Args:
        data_dir: folder that holds ``synthetic_persona_chat/valid.csv``.
        held_out: the evaluation side of the split if true, the training side if false.

    Raises:
        FileNotFoundError: the file is not there; the message says where to get it.
    """
    with present(data_dir / _FILE, source=SOURCE).open(newline="", encoding="utf-8") as file:
        records = list(csv.DictReader(file))
    conversations = []
    for record in records:
        personas = (record["user 1 personas"], record["user 2 personas"])
        if any(is_held_out(persona) for persona in personas) == held_out:
            for speaker, persona in zip(_SPEAKERS, personas, strict=True):
                conversations.append(_conversation(persona, record["Best Generated Conversation"], told_by=speaker))
    return [turns for turns in conversations if len(turns) > 2]


def _conversation(persona: str, dialogue: str, *, told_by: str) -> list[Turn]:
    """The persona, then the dialogue from its first line by the other speaker on."""
    turns = [Turn(role="system", content=persona.strip())]
    for line in dialogue.splitlines():
        speaker, _, said = line.partition(":")
        if speaker.strip() not in _SPEAKERS or not said.strip():
            continue
        role: Role = "assistant" if speaker.strip() == told_by else "user"
        if role == "user" or len(turns) > 1:
            turns.append(Turn(role=role, content=said.strip()))
    return turns
