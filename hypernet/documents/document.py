"""A document: text that is known to be readable, whatever it came as."""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

from hypernet.errors import DocumentEncodingError, EmptyDocument

_BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True, kw_only=True)
class Document:
    """Text about someone, ready to be read by a hypernetwork.

    However it is made, its lines end in a line feed, it carries no byte order mark, it is not blank and it encodes to
    UTF-8; so equal content has an equal `digest` whatever the file's origin. How many tokens a hypernetwork reads is
    the generator's to say, since that needs the tokenizer.

    Raises: `DocumentEncodingError` for lone surrogates and NUL characters, `EmptyDocument` for blank text.
    """

    text: str = field(repr=False)  # so that no log and no traceback shows what somebody wrote about themselves
    source: str = "text"
    """What kind of thing it came from, for people: "text", "markdown", a file's suffix. Not part of the digest."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", _normalised(self.text))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the UTF-8 text, 64 hexadecimal digits."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @classmethod
    def from_text(cls, text: str, *, source: str = "text") -> "Document":
        """A document from text that is already decoded. Raises: as the class."""
        return cls(text=text, source=source)

    @classmethod
    def from_bytes(cls, data: bytes, *, source: str = "text") -> "Document":
        """A document from UTF-8 bytes, with or without a byte order mark.

        Raises: `DocumentEncodingError` with the offset of the first bad byte, `EmptyDocument` for blank text.
        """
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise DocumentEncodingError(
                f"A document must be UTF-8 text; byte {error.start} of {len(data)} is not. "
                "Save the file as UTF-8 (iconv -f <its encoding> -t utf-8) and send it again.",
                offset=error.start,
            ) from None
        return cls(text=text, source=source)


def _normalised(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DocumentEncodingError(
            f"A document must be Unicode text; character {error.start} is half of a surrogate pair. "
            "Decode the text again from its bytes.",
            offset=error.start,
        ) from None
    nul = text.find("\0")
    if nul >= 0:
        raise DocumentEncodingError(
            f"A document must be text; character {nul} is NUL, which only binary files hold.", offset=nul
        )
    text = text.lstrip(_BYTE_ORDER_MARK).replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise EmptyDocument("The document is empty: it must hold some text.")
    return text
