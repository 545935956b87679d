"""What a replica tells the process that started it, through files in the run's folder."""

import json
import logging
from pathlib import Path

import hypernet.errors
from hypernet.errors import HypernetError

LOG_NAME = "service.log"
_FAILURE_NAME = "failure.json"


def log_to(folder: Path) -> None:
    """Sends this process's log records of the service, from INFO up, to the folder's log, one line each."""
    handler = logging.FileHandler(folder / LOG_NAME, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    for name in ("serving", "hypernet"):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False


def write_failure(folder: Path, error: HypernetError) -> None:
    """Leaves why a replica could not start."""
    report = {"type": type(error).__name__, "message": error.message}
    (folder / _FAILURE_NAME).write_text(json.dumps(report), encoding="utf-8")


def read_failure(folder: Path) -> HypernetError | None:
    """The error that `write_failure` left, or None."""
    try:
        report = json.loads((folder / _FAILURE_NAME).read_text(encoding="utf-8"))
        kind = getattr(hypernet.errors, report["type"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    error: HypernetError = kind(report["message"])
    return error
