"""How commands speak: results on standard output, everything about how it goes on standard error."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.table import Table


def print_json(value: Any) -> None:
    """`value` as one line of JSON on standard output."""
    sys.stdout.write(
        json.dumps(value, ensure_ascii=False, default=str).encode(errors="backslashreplace").decode() + "\n"
    )
    sys.stdout.flush()


def print_fields(fields: Mapping[str, Any]) -> None:
    """Names and values, one pair a line, aligned."""
    width = max(map(len, fields))
    # Soft wrapping leaves lines as long as they are: a digest is there to be copied.
    console = Console(highlight=False, soft_wrap=True)
    for name, value in fields.items():
        console.print(f"[bold]{name:<{width}}[/bold]  {plain(value)}")


def print_table(columns: list[str], rows: list[list[Any]]) -> None:
    """A table with a header line."""
    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(plain(value) for value in row))
    Console(highlight=False).print(table)


def plain(value: Any) -> str:
    """`value` as text that Rich prints as it is, brackets and control characters of foreign names included."""
    from rich.markup import escape

    return escape("".join(character if character.isprintable() else "\ufffd" for character in str(value)))


@contextmanager
def working(text: str, *, quiet: bool = False) -> Iterator[None]:
    """A spinner on standard error while the block runs; nothing where that is not a terminal."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield
        return
    with console.status(text):
        yield


def print_error(message: str, *, code: str, as_json: bool) -> None:
    """A failure on standard error: one line for people, or one JSON object."""
    if as_json:
        sys.stderr.write(json.dumps({"error": {"code": code, "message": message}}, ensure_ascii=False) + "\n")
    else:
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        console.print(f"[bold red]error:[/bold red] {plain(message)}")
