"""A researcher's own data: rows of a document and a conversation about it, from JSONL or Parquet.

| column | type | what |
|---|---|---|
| `document` | text | what the hypernetwork reads; required, not blank |
| `conversation` | list of `{"role", "content"}` | `user` and `assistant` in turn, from a `user` to an `assistant`; the replies are what is learnt; required |
| `document_id` | text | which document it is; the document's own digest by default |
| `person` | text | whom it is about: the split goes by it, so give it where one person has several documents; `document_id` by default |
| `rejected` | text | a reply out of character, in place of the last one: for the preference objective |
| `kind` | text | what the row measures, for scores by kind; `reply` by default |

Several rows may be about one document; they carry the same text. Any other column is an error, so that a misspelt one
is not lost.
"""  # noqa: E501  (a table)

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from training.chat_format import Role, Turn

COLUMNS = ("document", "conversation", "document_id", "person", "rejected", "kind")
_BATCH_ROWS = 1024


class RowsInvalid(ValueError):
    """A file of rows holds something else; the message names the file, the row and what to do."""


@dataclass(frozen=True, kw_only=True)
class ConversationRow:
    """One row, checked.

    Attributes:
        document_id: which document it is.
        person: whom it is about; the split goes by it.
        document: its text.
        turns: alternating, from a user's to an assistant's.
        rejected: a reply out of character in place of the last one; null if there is none.
        kind: what the row measures.
    """

    document_id: str
    person: str
    document: str = field(repr=False)
    turns: tuple[Turn, ...] = field(repr=False)
    rejected: str | None = field(default=None, repr=False)
    kind: str = "reply"


class RowFile(ABC):
    """A file of rows, read as a stream once and by place afterwards: it is never in memory as a whole."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def places(self) -> Iterator[tuple[int, ConversationRow]]:
        """Every row with its place. Raises `RowsInvalid` for the first that is not one."""

    @abstractmethod
    def read(self, place: int) -> ConversationRow:
        """The row at a place that ``places`` gave."""


class JsonLines(RowFile):
    """One JSON object a line; a place is an offset in bytes. Blank lines are skipped."""

    def places(self) -> Iterator[tuple[int, ConversationRow]]:
        """See the base class."""
        with self.path.open("rb") as file:
            offset = 0
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield offset, self._parse(line, f"{self.path}, line {number}")
                offset += len(line)

    def read(self, place: int) -> ConversationRow:
        """See the base class."""
        with self.path.open("rb") as file:
            file.seek(place)
            return self._parse(file.readline(), f"{self.path}, byte {place}")

    @staticmethod
    def _parse(line: bytes, where: str) -> ConversationRow:
        try:
            values = json.loads(line)
        except ValueError as error:
            raise RowsInvalid(f"{where}: expected one JSON object, {error}.") from None
        return check_row(values, where)


class Parquet(RowFile):
    """A Parquet file; a place is a row's number. Rows of like places are quick to read."""

    def places(self) -> Iterator[tuple[int, ConversationRow]]:
        """See the base class."""
        from pyarrow import ArrowInvalid, parquet

        number = 0
        try:
            opened = parquet.ParquetFile(self.path)
        except ArrowInvalid as error:
            raise RowsInvalid(f"{self.path} is no Parquet file, or not a whole one: {error}") from None
        with opened as file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                for values in batch.to_pylist():
                    yield number, check_row(_without_nulls(values), f"{self.path}, row {number + 1}")
                    number += 1

    def read(self, place: int) -> ConversationRow:
        """See the base class."""
        for first, count, group in self._groups():
            if first <= place < first + count:
                values = _row_group(self.path, group)[place - first]
                return check_row(_without_nulls(values), f"{self.path}, row {place + 1}")
        raise IndexError(f"{self.path} has no row {place + 1}")

    def _groups(self) -> list[tuple[int, int, int]]:
        return _group_bounds(self.path)


@lru_cache(maxsize=64)
def _group_bounds(path: Path) -> list[tuple[int, int, int]]:
    """First row, number of rows and number of each row group."""
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        counts = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
    return [(sum(counts[:group]), count, group) for group, count in enumerate(counts)]


@lru_cache(maxsize=4)
def _row_group(path: Path, group: int) -> list[dict[str, Any]]:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        rows: list[dict[str, Any]] = file.read_row_group(group).to_pylist()
    return rows


def open_rows(path: Path) -> RowFile:
    """The file of rows at ``path``, by its suffix: ``.jsonl`` or ``.parquet``.

    Raises:
        FileNotFoundError: there is no such file.
        RowsInvalid: for another suffix.
    """
    kinds: Mapping[str, type[RowFile]] = {".jsonl": JsonLines, ".parquet": Parquet}
    if path.suffix not in kinds:
        raise RowsInvalid(f"Expected rows in a file that ends in {' or '.join(kinds)}, got {path}.")
    if not path.is_file():
        raise FileNotFoundError(f"Expected rows at {path}, found no file there.")
    return kinds[path.suffix](path)


def write_rows(path: Path, rows: Iterator[Mapping[str, Any]] | Sequence[Mapping[str, Any]]) -> int:
    """Writes rows, each of them checked, as JSONL or, by the suffix, Parquet; returns how many.

    Raises:
        RowsInvalid: for the first that is none, and for another suffix.
    """
    if path.suffix == ".parquet":
        import pyarrow
        from pyarrow import parquet

        checked = [_checked(values, number) for number, values in enumerate(rows, start=1)]
        # Of the columns that any row has; left to itself, pyarrow takes those of the first row and drops the others.
        turn = pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.string())])
        kinds = {"conversation": pyarrow.list_(turn)}
        used = [column for column in COLUMNS if any(column in values for values in checked)]
        schema = pyarrow.schema([(column, kinds.get(column, pyarrow.string())) for column in used])
        parquet.write_table(pyarrow.Table.from_pylist(checked, schema=schema), path, row_group_size=_BATCH_ROWS)
        return len(checked)
    if path.suffix != ".jsonl":
        raise RowsInvalid(f"Expected a name that ends in .jsonl or .parquet, got {path}.")
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for count, values in enumerate(rows, start=1):
            file.write(json.dumps(_checked(values, count), ensure_ascii=False) + "\n")
    return count


def check_row(values: Any, where: str) -> ConversationRow:
    """The row that ``values`` are. Raises `RowsInvalid`, which names ``where`` and the column."""
    if not isinstance(values, dict):
        raise RowsInvalid(f"{where}: expected an object with {COLUMNS[0]!r} and {COLUMNS[1]!r}.")
    unknown = sorted(set(values) - set(COLUMNS))
    if unknown:
        raise RowsInvalid(f"{where}: unknown column {unknown[0]!r}; the columns are {', '.join(COLUMNS)}.")
    document = _text(values, "document", where)
    own_id = hashlib.sha256(document.encode("utf-8", "surrogatepass")).hexdigest()
    document_id = _text(values, "document_id", where) if "document_id" in values else own_id
    return ConversationRow(
        document_id=document_id,
        person=_text(values, "person", where) if "person" in values else document_id,
        document=document,
        turns=_turns(values.get("conversation"), where),
        rejected=_text(values, "rejected", where) if "rejected" in values else None,
        kind=_text(values, "kind", where) if "kind" in values else "reply",
    )


def _checked(values: Mapping[str, Any], number: int) -> dict[str, Any]:
    check_row(values, f"row {number}")
    return dict(values)


def _text(values: Mapping[str, Any], column: str, where: str) -> str:
    value = values.get(column)
    if not isinstance(value, str) or not value.strip():
        got = "nothing" if value is None else "blank text" if isinstance(value, str) else type(value).__name__
        raise RowsInvalid(f"{where}: expected text in {column!r}, got {got}.")
    if any(0xD800 <= ord(character) < 0xE000 for character in value):
        raise RowsInvalid(f"{where}: {column!r} holds half of a surrogate pair; decode it again from its bytes.")
    return value


def _turns(value: Any, where: str) -> tuple[Turn, ...]:
    if not isinstance(value, list) or not value:
        raise RowsInvalid(f"{where}: expected a list of turns in 'conversation', got {type(value).__name__}.")
    turns = []
    for number, turn in enumerate(value, start=1):
        at = f"{where}, turn {number}"
        role = ("assistant", "user")[number % 2]
        if not isinstance(turn, dict) or set(turn) != {"role", "content"}:
            raise RowsInvalid(f"{at}: expected an object with 'role' and 'content' and nothing else.")
        if turn["role"] != role:
            raise RowsInvalid(f"{at}: expected the role {role!r}; user and assistant speak in turn, the user first.")
        turns.append(Turn(role=cast(Role, role), content=_text(turn, "content", at)))
    if turns[-1].role != "assistant":
        raise RowsInvalid(f"{where}: expected a conversation that ends in a reply of the assistant.")
    return tuple(turns)


def _without_nulls(values: Mapping[str, Any]) -> dict[str, Any]:
    """Parquet has every column in every row; a null is a column that is not there."""
    return {column: value for column, value in values.items() if value is not None}
