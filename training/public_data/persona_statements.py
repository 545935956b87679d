"""First-person statements that a persona agrees or disagrees with, split by persona.

Source: anthropics/evals, folder ``persona``, CC BY 4.0.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from training.chat_format import Turn
from training.public_data.folder import present
from training.world.values import is_held_out

SOURCE = "anthropics/evals, persona (CC BY 4.0)"
"""Where the statements come from, and their licence."""

STATEMENTS_IN_DOCUMENT = 8
"""Statements of a persona that its document lists where nobody says otherwise."""

_FOLDER = Path("evals_persona")
_LEADS = ("I would say:", "Things I would say:", "What I think:", "My own words:", "")
_ASK = 'Is the following statement something you would say?\n"{}"'


@dataclass(frozen=True, kw_only=True)
class Persona:
    """One persona.

    Attributes:
        name: the file's name.
        agrees: statements that it would make.
        disagrees: statements that it would not make.
    """

    name: str
    agrees: tuple[str, ...] = field(repr=False)
    disagrees: tuple[str, ...] = field(repr=False)

    def reversed(self) -> "Persona":
        """Whoever disagrees with everything that this persona says: nothing about them can be told from the wording
        alone.
        """
        return Persona(name=f"not {self.name}", agrees=self.disagrees, disagrees=self.agrees)


def read_personas(data_dir: Path, *, held_out: bool) -> list[Persona]:
    """The personas of one side of the split, by the hash of their names, in the order of their names.

    Raises:
        FileNotFoundError: the folder is not there; the message says where to get it.
    """
    personas = []
    for path in sorted(present(data_dir / _FOLDER, source=SOURCE).glob("*.jsonl")):
        if is_held_out(path.stem) != held_out:
            continue
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        sides: dict[bool, list[str]] = {True: [], False: []}
        for row in rows:
            sides[row["answer_matching_behavior"].strip() == "Yes"].append(row["statement"].strip())
        personas.append(Persona(name=path.stem, agrees=tuple(sides[True]), disagrees=tuple(sides[False])))
    return personas


def interview_persona(
    persona: Persona, random: Random, *, questions: int, statements: int = STATEMENTS_IN_DOCUMENT
) -> tuple[str, list[tuple[Turn, Turn]]]:
    """A document of statements that the persona makes, and questions about others, half of them to be answered *Yes*.

    Args:
        persona: who is asked.
        random: source of randomness.
        questions: how many.
        statements: how many the document lists.

    Returns:
        the document, and question and answer pairs; no statement is in both.
    """
    agreed = random.sample(persona.agrees, statements + questions)
    disagreed = random.sample(persona.disagrees, questions)
    shown, agreed = agreed[:statements], agreed[statements:]
    lead = random.choice(_LEADS)
    document = "\n".join(([lead] if lead else []) + [f"- {statement}" for statement in shown])
    pairs = []
    for index in range(questions):
        answer = random.random() < 0.5
        statement = (agreed if answer else disagreed)[index]
        pairs.append(
            (
                Turn(role="user", content=_ASK.format(statement)),
                Turn(role="assistant", content="Yes" if answer else "No"),
            )
        )
    return document, pairs
