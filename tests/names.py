"""Draws names that somebody would choose to reach another's adapter, renders their paths, and counts what went wrong.

`python -m tests.names [--names 1000000] [--seed N] [--defect NAME]` prints one line of JSON. Hypothesis draws texts;
around each stands a family of names that could be taken for one another. With `--defect` a rendering that has it stands
in for the real one, and the counts must show that.
"""

import argparse
import hashlib
import json
import re
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote, unquote

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from hypernet.errors import InvalidName
from hypernet.storage.keys import MAX_NAME_LENGTH, TenantScope, segment

Render = Callable[[str, str], str]
"""The path of a tenant's user. Raises: `InvalidName`."""

_ROOT = Path("/srv/hypernet/adapters")
_PATH = re.compile(r"(?:[a-z0-9_%~-]{1,200}/){2}")
_SEEDS_AN_EXAMPLE = 24
_EXAMPLES_A_ROUND = 100
_OWN = (
    "pointer",
    "objects",
    "keys",
    "adapters",
    ".keys",
    ".audit",
    ".probe",
    ".locks",
    "pointer.unfinished",
    "%2ekeys",
)
_INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u202e\u2066\u2069\u034f\ufe0f"
_SEPARATORS = ("/", "\\", "%2f", "%5c", "-", "_", "~", ".", "..", ":", "\u2215", "\uff0f", "\u2024", "%", "@", " ")
# Letters that look like others, or become others where case or form is ignored.
_ALIKE = str.maketrans("akosiceKpx", "\u0430\u212a\u043e\u017f\u0131\u0441\u0435\u041a\u0440\u0445")
_TAILS = (
    "\u0301",
    "\u00df",
    "\u1e9e",
    "\ufb01",
    "\u0130",
    "😀",
    "👩🏽\u200d🚀",
    "\ud83d",
    "\udc00",
    "\x00",
    "\n",
    "@1",
    "@1x",
    ".",
)
_REFUSED = ("", "\x00", "/", " a", "a@1")
"""One name for each rule."""


_TRICKY = st.text(alphabet="aAbBkKsSiI09-_.%~@: ıİßſéÉ\u0301\u212a\ufeff你😀\u200d", min_size=1, max_size=12)
_ANY = st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="/\\"), max_size=12)
_TEXTS = st.lists(_TRICKY | _ANY, min_size=_SEEDS_AN_EXAMPLE, max_size=_SEEDS_AN_EXAMPLE)


def draw(number: int) -> list[list[str]]:
    """Lists of texts to begin with; others for every number."""
    drawn: list[list[str]] = []

    @seed(number)
    @settings(
        max_examples=_EXAMPLES_A_ROUND,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(_TEXTS)
    def one_round(texts: list[str]) -> None:
        drawn.append(texts)

    one_round()
    return drawn


def family(text: str, other: str, render: Render) -> list[str]:
    """Names that could be taken for one another, most of them made from ``text``; some are no names at all."""
    forms = [unicodedata.normalize(form, text) for form in ("NFC", "NFD", "NFKC", "NFKD")]
    cases = [text.lower(), text.upper(), text.swapcase(), text.casefold(), text.title()]
    encoded = quote(text, safe="", errors="surrogatepass")
    written = [encoded, encoded.lower(), quote(encoded), unquote(text), text.replace("%", "%25"), f"%{text}"]
    middle = len(text) // 2
    hidden = [text[:middle] + sign + text[middle:] for sign in _INVISIBLE]
    joined = [f"{text}{sign}{other}" for sign in _SEPARATORS]
    tailed = [text + tail for tail in _TAILS]
    dotted = [f".{text}", f" {text}", f"{text}\u3000", text.translate(_ALIKE)]
    own = [f"{text}{name}" for name in _OWN]
    return [text, *forms, *cases, *written, *hidden, *joined, *tailed, *dotted, *own, *_long(text, render)]


def _long(text: str, render: Render) -> Iterator[str]:
    """Names about as long as a rendering may be, and names that look as longer ones are rendered."""
    capitals = (text.upper() or "A") * MAX_NAME_LENGTH
    plain = (re.sub("[^a-z0-9]", "", text.lower()) or "a") * MAX_NAME_LENGTH
    for length in (63, 64, 65, 66, 67, 68, 100, 127, 128, 129):
        yield capitals[:length]
        yield capitals[: length - 1] + "z"
    # As many characters of three bytes as make the rendering some 200 long.
    for count in range(194, 207):
        yield "A" * (count // 3 - 4) + plain[: count % 3 + 12]
    long_names = [capitals[:127], "A" * 67 + plain[:40], plain[:65] + "A" * 50]
    for name in long_names:
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
        yield from (f"{name[:63]}~{digest}", f"{plain[:63]}~{digest}", f"~{digest}", digest)
        try:
            rendered = render("a", name).strip("/").rpartition("/")[2]
        except InvalidName:
            continue
        yield from (name, rendered, rendered[:MAX_NAME_LENGTH], rendered[-MAX_NAME_LENGTH:])


def pairs(names: list[str], other: str) -> Iterator[tuple[str, str]]:
    """Tenants and users of those names: side by side, and parted in other places."""
    yield from pairwise([*names, names[0]])
    for sign in _SEPARATORS:
        yield f"{names[0]}{sign}{other}", names[0]
        yield names[0], f"{other}{sign}{names[0]}"


@dataclass(kw_only=True)
class Count:
    """What was seen so far; everything by hashes of 16 bytes."""

    render: Render
    refused: int = 0
    collisions: int = 0
    escapes: int = 0
    repeated: int = 0
    """Refusals that say something of the name."""
    _tenants: set[bytes] = field(default_factory=set)
    _users: set[bytes] = field(default_factory=set)
    _keys: set[bytes] = field(default_factory=set)
    _paths: set[bytes] = field(default_factory=set)
    _folders: set[bytes] = field(default_factory=set)
    _messages: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        for name in _REFUSED:
            self._messages |= {_message(TenantScope, name), _message(TenantScope("a").user, name)}

    @property
    def names(self) -> int:
        """How many names were rendered: as tenants and as users."""
        return len(self._tenants) + len(self._users)

    def add(self, tenant: str, user: str) -> bool:
        """Renders one key, unless it was before, and compares it with all others; whether its names are allowed."""
        key = _print(tenant, user)
        if key in self._keys:
            return True
        try:
            path = self.render(tenant, user)
        except InvalidName as error:
            self.refused += 1
            self.repeated += _masked(error) not in self._messages
            return False
        self._keys.add(key)
        self._tenants.add(_print(tenant))
        self._users.add(_print(user))
        self.escapes += not _stays(path)
        folded = _folded(path)
        found = _print(folded)
        # Every path ends in a slash, so that one is inside another where it is one of the folders on the way to it.
        inner = {_print(folded[: place + 1]) for place, sign in enumerate(folded[:-1]) if sign == "/"}
        self.collisions += found in self._paths
        self.escapes += found in self._folders or not inner.isdisjoint(self._paths)
        self._paths.add(found)
        self._folders |= inner
        return True

    def report(self) -> dict[str, int]:
        """The counts by name."""
        return {
            "names": self.names,
            "tenants": len(self._tenants),
            "users": len(self._users),
            "keys": len(self._keys),
            "refused": self.refused,
            "collisions": self.collisions,
            "escapes": self.escapes,
            "repeated": self.repeated,
        }


def _print(*parts: str) -> bytes:
    coded = [part.encode("utf-8", "surrogatepass") for part in parts]
    return hashlib.blake2b(b"".join(len(part).to_bytes(4, "big") + part for part in coded), digest_size=16).digest()


def _stays(path: str) -> bool:
    """Whether it is two plain names, and a folder two levels below any root."""
    return _PATH.fullmatch(path) is not None and (_ROOT / path).resolve().parent.parent == _ROOT


def _folded(path: str) -> str:
    """What a file system makes of it that ignores case and Unicode form, the compatible ones included."""
    once = unicodedata.normalize("NFKD", path).casefold()
    return unicodedata.normalize("NFKD", once).casefold()


def _message(make: Callable[[str], object], name: str) -> str:
    try:
        make(name)
    except InvalidName as error:
        return _masked(error)
    raise AssertionError("a name was allowed that breaks a rule")


def _masked(error: InvalidName) -> str:
    # How long a name is may be said.
    return re.sub("it has [0-9]+", "it has N", error.message)


def sound(tenant: str, user: str) -> str:
    """The real thing."""
    return TenantScope(tenant).user(user).prefix


def _with(segment_of: Callable[[str], str], *, joint: str = "/", end: str = "/") -> Render:
    def render(tenant: str, user: str) -> str:
        sound(tenant, user)
        return f"{segment_of(tenant)}{joint}{segment_of(user)}{end}"

    return render


def _with_capitals(name: str) -> str:
    return quote(name, safe="")


def _cut(name: str) -> str:
    return "".join(sign if sign in "abcdefghijklmnopqrstuvwxyz0123456789_-" else _hexed(sign) for sign in name)[:200]


def _hexed(sign: str) -> str:
    return "".join(f"%{byte:02x}" for byte in sign.encode())


def _with_plain_sign(name: str) -> str:
    rendered = segment(name)
    return f"{rendered[:63]}_{rendered[-64:]}" if "~" in rendered else rendered


def _unchecked(tenant: str, user: str) -> str:
    return f"{tenant}/{user}/"


def _telling(tenant: str, user: str) -> str:
    for name in (tenant, user):
        try:
            TenantScope(name)
        except InvalidName:
            raise InvalidName(f"The name {name!r} is not allowed.") from None
    return sound(tenant, user)


DEFECTS: dict[str, Render] = {
    "none": sound,
    "capitals": _with(_with_capitals),
    "cut": _with(_cut),
    "joined-by-a-dash": _with(segment, joint="-"),
    "without-a-closing-slash": _with(segment, end=""),
    "hash-behind-a-plain-sign": _with(_with_plain_sign),
    "as-it-is": _with(str),
    "unchecked": _unchecked,
    "says-the-name": _telling,
}
"""Renderings by the name of what is wrong with them."""


def run(wanted: int, *, number: int = 0, defect: str = "none") -> dict[str, int]:
    """Draws until so many names were rendered; the counts."""
    count = Count(render=DEFECTS[defect])
    drawn: set[str] = set()
    while True:
        for texts in draw(number):
            new = [text for text in dict.fromkeys(texts) if text not in drawn]
            drawn.update(new)
            for text, other in pairwise([*new, *new[:1]]):
                names = dict.fromkeys(family(text, other, count.render))
                allowed = [name for name in names if all([count.add("acme", name), count.add(name, "ada")])]
                for tenant, user in pairs(allowed or ["a"], other):
                    count.add(tenant, user)
                if count.names >= wanted:
                    return count.report()
        number += 1_000_003


def main(arguments: list[str]) -> int:
    """Prints the counts; 1 if anything went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.names", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--names", type=int, default=1_000_000, help="how many names to render")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other names")
    parser.add_argument("--defect", choices=sorted(DEFECTS), default="none", help="a rendering that has it")
    options = parser.parse_args(arguments)
    start = time.monotonic()
    found = run(options.names, number=options.seed, defect=options.defect)
    sys.stdout.write(json.dumps(found | {"seconds": round(time.monotonic() - start, 1)}) + "\n")
    return int(any(found[name] for name in ("collisions", "escapes", "repeated")))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
