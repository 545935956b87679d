"""The facts that a person of the made-up world can have, read from ``open.yaml`` and ``closed.yaml``, which explain
themselves.
"""

from dataclasses import dataclass
from random import Random
from typing import Any

from training.world import values
from training.world.tables import read_table


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """One kind of fact.

    Attributes:
        key: its name in this code and in evaluation reports.
        labels: names of the field in a character sheet.
        labels_unseen: names of the field kept for evaluation.
        states: clauses that state the fact, without the final stop.
        states_unseen: clauses kept for evaluation.
        asks: questions seen in training.
        asks_unseen: questions kept for evaluation.
        choices: the closed set of values; empty for an open vocabulary.
        make: draws an open-vocabulary value; none for a closed set.
    """

    key: str
    labels: tuple[str, ...]
    labels_unseen: tuple[str, ...]
    states: tuple[str, ...]
    states_unseen: tuple[str, ...]
    asks: tuple[str, ...]
    asks_unseen: tuple[str, ...]
    choices: tuple[str, ...] = ()
    make: values.Make | None = None

    @property
    def is_open(self) -> bool:
        """Whether its values come from an open vocabulary."""
        return self.make is not None

    def value(self, random: Random, *, reserved: bool) -> str:
        """A value; for an open vocabulary from the asked side of the split (see :func:`values.is_reserved`)."""
        return random.choice(self.choices) if self.make is None else self.make(random, reserved)


def _attribute(entry: dict[str, Any]) -> Attribute:
    make = values.MAKERS[entry.pop("make")] if "make" in entry else None
    lists = {field: tuple(items) for field, items in entry.items() if field != "key"}
    return Attribute(key=entry["key"], make=make, **lists)


NAME, *_OTHERS = (_attribute(entry) for table in ("open", "closed") for entry in read_table(table))

ATTRIBUTES: tuple[Attribute, ...] = tuple(_OTHERS)
"""Every attribute but the name, which everybody has."""

BY_KEY = {attribute.key: attribute for attribute in (NAME, *ATTRIBUTES)}
