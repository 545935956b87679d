"""One HTML page with everything that was measured: plots, tables, notes."""

from collections.abc import Sequence
from pathlib import Path

from training.evaluation.measures import Evaluation
from training.evaluation.report.page import page

NAME = "index.html"


def write_report(results: Sequence[Evaluation], folder: Path) -> Path:
    """Writes ``folder/index.html``, which needs nothing else, network included; returns its path.

    A page that is there already is replaced; the folder is made if it is missing. Raises `OSError` where that cannot be
    done.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    path.write_text(page(results), encoding="utf-8")
    return path


__all__ = ["write_report"]
