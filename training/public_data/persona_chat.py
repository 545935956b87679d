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

    Every dialogue is told twice, from each side. A dialogue is kept from training if either speaker's persona is held
    out, by the hash of its text. The file repeats personas with their lines in another order, so of the dialogues that
    are kept from training only those are held-out ones whose teller's lines, in any order, are no persona of a training
    dialogue; the others are on neither side. Single lines still occur in both.

    Args:
        data_dir: folder that holds ``synthetic_persona_chat/valid.csv``.
        held_out: the evaluation side of the split if true, the training side if false.

    Raises:
        FileNotFoundError: the file is not there; the message says where to get it.
    """
    with present(data_dir / _FILE, source=SOURCE).open(newline="", encoding="utf-8") as file:
        records = [
            ((record["user 1 personas"], record["user 2 personas"]), record["Best Generated Conversation"])
            for record in csv.DictReader(file)
        ]
    sides: dict[bool, list[tuple[tuple[str, str], str]]] = {False: [], True: []}
    for personas, dialogue in records:
        sides[any(is_held_out(persona) for persona in personas)].append((personas, dialogue))
    trained = {persona_lines(persona) for personas, _ in sides[False] for persona in personas}
    conversations = [
        _conversation(persona, dialogue, told_by=speaker)
        for personas, dialogue in sides[held_out]
        for speaker, persona in zip(_SPEAKERS, personas, strict=True)
        if not held_out or persona_lines(persona) not in trained
    ]
    return [turns for turns in conversations if len(turns) > 2]


def persona_lines(persona: str) -> frozenset[str]:
    """The lines of ``persona`` in any order and case: what makes two of them the same one."""
    return frozenset(line.strip().lower() for line in persona.splitlines() if line.strip())


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
