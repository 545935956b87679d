"""User names as they come in a URL."""

import re
from urllib.parse import unquote_to_bytes

from hypernet.errors import InvalidName

_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def decoded_user(segment: str) -> str:
    """The user that one raw path segment names, decoded exactly once; `UserKey` says whether the name is allowed.

    Raises `InvalidName` for a percent sign that escapes nothing and for bytes that are not UTF-8.
    """
    try:
        raw = segment.encode("latin-1")
        if _BROKEN_ESCAPE.search(raw):
            raise InvalidName("A percent sign in a user's name must be sent as %25.", param="user")
        return unquote_to_bytes(raw).decode("utf-8")
    except UnicodeError:
        raise InvalidName("A user's name must be UTF-8, percent-encoded in the path.", param="user") from None
