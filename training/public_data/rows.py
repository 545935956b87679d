"""Public data sets as rows of documents and conversations; see `training.rows` for the columns.

The whole of each set's published training side is written, or all of it where none is published: `training.rows_data`
splits by document.
"""

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

from training.chat_format import Turn
from training.public_data import characters, persona_chat, persona_statements, stories
from training.public_data.folder import present
from training.public_data.persona_chat import read_conversations
from training.public_data.persona_statements import interview_persona, read_personas

Rows = Iterator[dict[str, Any]]

_STATEMENTS = 8
_DOCUMENTS_OF_PERSONA = 4
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


def persona_chat_rows(data_dir: Path) -> Rows:
    """Synthetic-Persona-Chat: a persona, and an exchange of its conversation a row; one document a persona.

    Only what this project's own training may see: what its evaluation keeps stays out.
    """
    for persona, *talk in read_conversations(data_dir, held_out=False):
        # The file has some personas several times, their lines in another order.
        person = " ".join(sorted(persona.content.lower().splitlines()))
        for start in range(0, len(talk) - 1, 2):
            turns = talk[start : start + 2]
            yield _row(persona.content, turns, document_id=persona.content, person=person, kind="conversation")


def fairytale_rows(data_dir: Path) -> Rows:
    """FairytaleQA's training stories: a section, and a question about it a row; one document id a section."""
    questions = present(data_dir / "fairytale_qa" / "questions" / "train", source=stories.SOURCE)
    for path in sorted(questions.glob("*-questions.csv")):
        name = path.name.removesuffix("-questions.csv")
        sections = _sections(data_dir / "fairytale_qa" / "section-stories" / "train" / f"{name}-story.csv")
        for record in _records(path):
            asked = [sections.get(number.strip(), "") for number in record["cor_section"].split(",")]
            document = "\n".join(asked).strip()
            question, answer = record["question"].strip(), record["answer1"].strip()
            if document and question and answer:
                yield _row(
                    document,
                    [Turn(role="user", content=question), Turn(role="assistant", content=answer)],
                    document_id=f"{name} {record['cor_section'].strip()}",
                    kind=record["ex-or-im1"].strip() or "reply",
                )


def persona_statement_rows(data_dir: Path) -> Rows:
    """anthropics/evals: statements of a persona, and whether it would say another; with the wrong answer as the one
    that is rejected. Only what this project's own training may see: what its evaluation keeps stays out.
    """
    random = Random("rows evals_persona")
    for persona in read_personas(data_dir, held_out=False):
        for number in range(_DOCUMENTS_OF_PERSONA):
            document, pairs = interview_persona(persona, random, questions=_STATEMENTS)
            for question, answer in pairs:
                yield _row(
                    document,
                    [question, answer],
                    document_id=f"{persona.name} {number}",
                    person=persona.name,
                    kind="persona",
                    rejected="No" if answer.content == "Yes" else "Yes",
                )


def character_rows(data_dir: Path) -> Rows:
    """LIGHT: a character's persona, and a request to speak a row; a sentence that answers it stays in the document, one
    of another character is the reply that is rejected.
    """
    path = present(data_dir / "light_characters" / "characters.json", source=characters.SOURCE)
    found = [
        (f"{character['id']} {character['name']}", character["name"], text.strip())
        for character in json.loads(path.read_text(encoding="utf-8"))
        for text in character["persona"][:1]
        if text.strip()
    ]
    random = Random("rows light_characters")
    for document_id, name, text in found:
        said = [sentence for sentence in _SENTENCE.split(text) if sentence.startswith("I ")]
        other = random.choice(found)[2]
        rejected = random.choice(_SENTENCE.split(other)).strip()
        for sentence in said[:3]:
            if rejected and rejected != sentence:
                yield _row(
                    f"{name}\n{text}",
                    [Turn(role="user", content="Tell me about yourself."), Turn(role="assistant", content=sentence)],
                    document_id=document_id,
                    kind="character",
                    rejected=rejected,
                )


SETS: Mapping[str, tuple[Callable[[Path], Rows], str]] = {
    "synthetic_persona_chat": (persona_chat_rows, persona_chat.SOURCE),
    "fairytale_qa": (fairytale_rows, stories.SOURCE),
    "evals_persona": (persona_statement_rows, persona_statements.SOURCE),
    "light_characters": (character_rows, characters.SOURCE),
}
"""Data sets by the names of their folders: what writes their rows, and where they are from with their licence."""


def _row(document: str, turns: list[Turn], *, document_id: str, kind: str, **more: str) -> dict[str, Any]:
    return {
        "document_id": document_id,
        "document": document,
        "conversation": [{"role": turn.role, "content": turn.content} for turn in turns],
        "kind": kind,
        **more,
    }


def _sections(path: Path) -> dict[str, str]:
    return {record["section"].strip(): " ".join(record["text"].split()) for record in _records(path)}


def _records(path: Path) -> list[dict[str, str]]:
    with present(path, source=stories.SOURCE).open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))
