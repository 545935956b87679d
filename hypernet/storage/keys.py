"""Storage keys: the only place where a user's name becomes a path.

A key is made from a tenant's scope, never from two strings, so a caller that holds one tenant's scope cannot name
another tenant's user. Different names give different paths, on file systems that ignore case and Unicode form too, and
no path is a prefix of another.
"""

import hashlib
import re
import unicodedata
from dataclasses import dataclass, field
from functools import cached_property

from hypernet.errors import InvalidName

MAX_NAME_LENGTH = 128
"""In characters."""

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-")
_RENDERED = tuple(chr(byte) if chr(byte) in _PLAIN else f"%{byte:02x}" for byte in range(256))
"""By byte."""
# File systems allow 255 bytes in one name; longer renderings end in a hash instead, after a sign that no other
# rendering contains.
_MAX_SEGMENT_LENGTH = 200
_HASH_SIGN = "~"
_LOOKS_VERSIONED = re.compile(r"@[0-9]+\Z")


@dataclass(frozen=True)
class TenantScope:
    """Everything of one tenant; what a credential is exchanged for. Raises: `InvalidName`."""

    tenant: str = field(repr=False)

    def __post_init__(self) -> None:
        check_name(self.tenant, what="tenant")

    @cached_property
    def prefix(self) -> str:
        """The folder, or the start of the object names, of all its users; ends in `/`."""
        return f"{segment(self.tenant)}/"

    def user(self, user: str) -> "UserKey":
        """The key of one of its users. Raises: `InvalidName`."""
        return UserKey(scope=self, user=user)

    def listed(self, folder: str) -> "ListedUser":
        """One of its users of whom a listing told the folder; the name may be too long to be read from it."""
        return ListedUser(scope=self, folder=folder)


@dataclass(frozen=True, kw_only=True)
class UserKey:
    """One user of one tenant, as the stores and every cache know them. Raises: `InvalidName`."""

    scope: TenantScope
    user: str = field(repr=False)

    def __post_init__(self) -> None:
        check_name(self.user, what="user")

    @property
    def tenant(self) -> str:
        """The tenant's name."""
        return self.scope.tenant

    @cached_property
    def prefix(self) -> str:
        """The folder, or the start of the object names, of all that is this user's; ends in `/`."""
        return f"{self.scope.prefix}{segment(self.user)}/"


@dataclass(frozen=True, kw_only=True)
class ListedUser:
    """A user of whom only the folder is known; see `TenantScope.listed`."""

    scope: TenantScope
    folder: str = field(repr=False)

    @property
    def prefix(self) -> str:
        """The same as that of the user's key."""
        return f"{self.scope.prefix}{self.folder}/"


UserPath = UserKey | ListedUser
"""What renders the paths of one user."""


def check_name(name: str, *, what: str) -> None:
    """Returns if a user or tenant may have this name; what is wrong is said without repeating the name.

    Allowed are 1 to 128 characters of any script. Raises: `InvalidName` for control characters, lone surrogates,
    slashes, backslashes, dots that mean a folder (`.`, and `..` anywhere), white space at either end, and an ending of
    `@` and digits, which in `model@3` asks for a version.
    """
    if not 1 <= len(name) <= MAX_NAME_LENGTH:
        raise _invalid(what, f"must have 1 to {MAX_NAME_LENGTH} characters, it has {len(name)}")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise _invalid(what, "must not hold control characters or halves of surrogate pairs")
    if "/" in name or "\\" in name or ".." in name or name == ".":
        raise _invalid(what, "must not hold a slash, a backslash or '..', nor be '.'")
    if name != name.strip():
        raise _invalid(what, "must not begin or end with white space")
    if _LOOKS_VERSIONED.search(name):
        raise _invalid(what, "must not end in '@' and digits, which ask for a version")


def _invalid(what: str, rule: str) -> InvalidName:
    return InvalidName(f"A {what} name {rule}. Choose another name.", param=what)


def segment(name: str) -> str:
    """One path segment for a name: at most 200 characters of `a-z 0-9 _ - % ~`, another one for every other name.

    Every other byte of the UTF-8 name is written `%xx` in lower case, upper-case letters included, so that a file
    system that ignores case keeps the segments apart.
    """
    encoded = "".join(_RENDERED[byte] for byte in name.encode())
    if len(encoded) <= _MAX_SEGMENT_LENGTH:
        return encoded
    return f"{encoded[:128]}{_HASH_SIGN}{hashlib.sha256(name.encode()).hexdigest()}"
