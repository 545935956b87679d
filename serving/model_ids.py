"""Model ids of the chat API: `base`, `base:user` and `base:user@version`."""

import re
from dataclasses import dataclass

from hypernet.errors import InvalidName

_VERSIONED = re.compile(r"(?s)(?P<user>.*)@(?P<version>[0-9]+)")
_MAX_VERSION_DIGITS = 9


@dataclass(frozen=True, kw_only=True)
class ModelId:
    """What a request's `model` asks for: the base model alone (`user` None), or with that user's adapter.

    `version` None means the active one.
    """

    base: str
    user: str | None = None
    version: int | None = None

    def __str__(self) -> str:
        user = "" if self.user is None else f":{self.user}"
        return f"{self.base}{user}" + ("" if self.version is None else f"@{self.version}")


def parse_model_id(text: str) -> ModelId:
    """The parts of a model id; raises `InvalidName` where a colon is followed by no user.

    Names of base models hold no colon, so the first one ends the base; a user's name may hold any more. A user's name
    never ends in `@` and digits, so such an ending is a version.
    """
    base, colon, rest = text.partition(":")
    if not colon:
        return ModelId(base=base)
    versioned = _VERSIONED.fullmatch(rest)
    user = versioned["user"] if versioned else rest
    if not user:
        raise InvalidName("Expected a user after the colon in 'model', as in 'tiny:ada', got none.", param="model")
    return ModelId(base=base, user=user, version=version_number(versioned["version"]) if versioned else None)


def version_number(digits: str) -> int:
    """The version that ASCII `digits` name; numbers beyond what any store counts to are all one, which none has."""
    return int(digits) if len(digits) <= _MAX_VERSION_DIGITS else 10**_MAX_VERSION_DIGITS
