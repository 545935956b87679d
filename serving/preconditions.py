"""Conditional requests: entity tags and what `If-Match` and `If-None-Match` decide.

Source: RFC 9110, sections 8.8.3 (entity tags), 13.1 (preconditions) and 13.2 (their order).
"""

import re
from dataclasses import dataclass
from typing import Self

from hypernet.errors import InvalidRequest, PreconditionFailed
from hypernet.storage import StoredAdapter

_TAG = re.compile(r'(?P<weak>W/)?"(?P<opaque>[\x21\x23-\x7e\x80-\xff]*)"')
_LIST = re.compile(rf"[ \t,]*(?:{_TAG.pattern.replace('?P<weak>', '').replace('?P<opaque>', '')}[ \t]*(?:,[ \t,]*|$))+")


def entity_tag(stored: StoredAdapter, *, part: str | None = None) -> str:
    """The strong entity tag of a version; `part` tells representations apart that differ in their bytes."""
    return f'"{stored.version}-{stored.digest[:32]}{"-" + part if part else ""}"'


@dataclass(frozen=True, kw_only=True)
class Preconditions:
    """The two headers of one request; None where a header is absent."""

    if_match: str | None = None
    if_none_match: str | None = None

    @classmethod
    def from_headers(cls, *, if_match: str | None, if_none_match: str | None) -> Self:
        """The headers' values; raises `InvalidRequest` where one is neither `*` nor a list of entity tags."""
        for name, value in (("If-Match", if_match), ("If-None-Match", if_none_match)):
            if value is not None and value.strip() != "*" and not _LIST.fullmatch(value):
                raise InvalidRequest(f'Expected {name} to hold "*" or quoted entity tags, got something else.')
        return cls(if_match=if_match, if_none_match=if_none_match)

    @property
    def present(self) -> bool:
        """Whether the caller made any condition."""
        return self.if_match is not None or self.if_none_match is not None

    def check_write(self, current: str | None) -> None:
        """Raises `PreconditionFailed` unless a write may go on over the tag `current` (None = nothing there)."""
        if self.if_match is not None and not _matches(self.if_match, current, weak=False):
            raise PreconditionFailed("If-Match does not name the present version; read it again and decide anew.")
        if self.if_none_match is not None and _matches(self.if_none_match, current, weak=True):
            raise PreconditionFailed("If-None-Match names what is already there.")

    def not_modified(self, current: str) -> bool:
        """Whether a read of the tag `current` is answered with 304; raises `PreconditionFailed` on `If-Match`."""
        if self.if_match is not None and not _matches(self.if_match, current, weak=False):
            raise PreconditionFailed("If-Match does not name the present version.")
        return self.if_none_match is not None and _matches(self.if_none_match, current, weak=True)


def _matches(header: str, current: str | None, *, weak: bool) -> bool:
    if current is None:
        return False
    if header.strip() == "*":
        return True
    opaque = current.strip('"')
    return any(tag["opaque"] == opaque and (weak or not tag["weak"]) for tag in _TAG.finditer(header))
