"""The `hypernet` program."""

from hypernet.cli.program import main

__all__ = ["main"]
