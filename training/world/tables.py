"""The world's tables: YAML files beside this one, part of the package."""

from importlib.resources import files
from typing import Any

import yaml


def read_table(name: str) -> Any:
    """What ``name``.yaml in this package holds."""
    return yaml.safe_load((files(__package__) / f"{name}.yaml").read_text(encoding="utf-8"))
