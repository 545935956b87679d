"""Where an adapter comes from."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hypernet.adapters.tensor_file import read_json_object
from hypernet.errors import AdapterInvalid

FORMAT_VERSION = 1
UNKNOWN = "unknown"
"""What a provenance says where nobody recorded it; it equals no digest, so it passes no check for a base model."""

_FIELD_TYPES: Mapping[str, type] = {
    "base_model": str,
    "base_model_digest": str,
    "hypernetwork": str,
    "hypernetwork_digest": str,
    "document_digest": str,
    "options": dict,
    "format_version": int,
}


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where an adapter comes from: enough to make it again and to tell which base model it belongs to."""

    base_model: str
    """The base model's name, for people and for PEFT's `base_model_name_or_path`."""
    base_model_digest: str
    """The base model's revision. Engines compare this one, never the name."""
    hypernetwork: str
    hypernetwork_digest: str
    document_digest: str
    options: Mapping[str, str | int | float | bool | None]
    """What else decided the adapter's values."""
    format_version: int = FORMAT_VERSION

    def to_json(self) -> str:
        """The one JSON text for this provenance: keys sorted, ASCII. Raises: `AdapterInvalid` where JSON has none."""
        fields = {name: getattr(self, name) for name in _FIELD_TYPES} | {"options": dict(self.options)}
        try:
            return json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
        except (TypeError, ValueError):
            raise AdapterInvalid("The adapter's provenance must hold plain values as options.") from None

    @classmethod
    def from_json(cls, text: str) -> "Provenance":
        """Reads what `to_json` wrote. Raises: `AdapterInvalid`."""
        fields = read_json_object(text.encode(errors="replace"), what="adapter's provenance")
        if fields.keys() != _FIELD_TYPES.keys() or any(type(fields[name]) is not _FIELD_TYPES[name] for name in fields):
            raise AdapterInvalid(f"The adapter's provenance must hold {', '.join(_FIELD_TYPES)}, each of its type.")
        if fields["format_version"] != FORMAT_VERSION:
            raise AdapterInvalid(
                f"The adapter is of format {fields['format_version']}, this release reads format {FORMAT_VERSION}. "
                "Generate it again, or use the release that wrote it."
            )
        if not all(_is_plain(value) for value in fields["options"].values()):
            raise AdapterInvalid("The adapter's provenance must hold plain values as options.")
        return cls(**fields)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
