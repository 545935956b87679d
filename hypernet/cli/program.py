"""The program: its commands, its own and those that other packages contribute, and what becomes of errors."""

import os
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points, version
from typing import Annotated, Any

import typer

from hypernet.cli import commands
from hypernet.cli.output import print_error
from hypernet.errors import CheckpointNotFound, HypernetError, SettingsError

COMMANDS_GROUP = "hypernet.commands"

QUIET = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
"""Variables for libraries that talk of themselves while they load; checkpoints are local, so no hub is asked."""

FAILED = 1
"""Exit code where something went wrong on this side."""
WRONG_INPUT = 2
"""Exit code where the caller has to change what was asked for; also what wrong options give."""


def program() -> typer.Typer:
    """The command tree. Commands of other packages are found by entry point, so that nothing here imports them."""
    app = typer.Typer(
        name="hypernet",
        help="A document about someone in, a LoRA adapter out, and chat with it.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_options)
    app.command("generate")(commands.generate)
    app.command("chat")(commands.chat)
    app.add_typer(commands.adapters, name="adapters")
    app.add_typer(commands.store, name="store")
    app.command("doctor")(commands.doctor)
    for entry_point in sorted(entry_points(group=COMMANDS_GROUP)):
        app.command(entry_point.name)(_command(entry_point))
    return app


def main() -> None:
    """Runs the program on `sys.argv` and exits: 0, or `FAILED`, or `WRONG_INPUT`."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        program()()
    except HypernetError as error:
        print_error(error.message, code=error.code, as_json="--json" in sys.argv)
        theirs = error.http_status < 500 or isinstance(error, SettingsError | CheckpointNotFound)
        sys.exit(WRONG_INPUT if theirs else FAILED)
    except BrokenPipeError:
        # The reader of a pipe has gone; flushing at exit would fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except KeyboardInterrupt:
        sys.exit(130)


def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=lambda shown: _print_version(shown), is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """A document about someone in, a LoRA adapter out, and chat with it."""


def _print_version(shown: bool) -> bool:
    if shown:
        typer.echo(version("hypernet"))
        raise typer.Exit
    return shown


def _command(entry_point: EntryPoint) -> Callable[..., Any]:
    try:
        command: Callable[..., Any] = entry_point.load()
    except ImportError as error:
        reason = f"{type(error).__name__}: {error}"

        def unavailable() -> None:
            """Not available in this installation."""
            raise SettingsError(f"The command {entry_point.name!r} cannot be loaded ({reason}). Install it again.")

        return unavailable
    return command
