"""Receipts of erasures: a signed line of the audit log, checked without a store."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hypernet.errors import StoreCorrupt
from hypernet.storage.audit_check import check_log
from hypernet.storage.audit_keys import AuditKeys, is_signed
from hypernet.storage.audit_log import AuditLine, hash_of, line_bytes

EVENT = "erased"
_FORMAT = 1
_TEXTS = ("hash", "public_key", "signature")


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """That a user's adapter was erased: what, when, how much, and which key was destroyed."""

    line: Mapping[str, Any]
    """The line of the audit log: `at`, the user's pseudonym as `user`, the name of the `change`, how many `objects` and
    `bytes`, and the `keys` that were destroyed: their ids and the SHA-256 digests of what they were."""
    hash: str
    """SHA-256 of the line, by which the log's next line goes on."""
    public_key: str
    """Of the key that signed; to be compared with the one that the store's operator names."""
    signature: str

    @classmethod
    def of(cls, line: AuditLine, *, keys: AuditKeys) -> "Receipt":
        """The receipt that such a line is worth."""
        signature = keys.sign(_signed_text(line.hash))
        return cls(line=line.content, hash=line.hash, public_key=keys.public_key, signature=signature)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "format": _FORMAT,
            "line": dict(self.line),
            "hash": self.hash,
            "public_key": self.public_key,
            "signature": self.signature,
        }

    @classmethod
    def from_bytes(cls, data: bytes) -> "Receipt":
        """Reads the JSON of `to_dict`. Raises: `StoreCorrupt` for anything else."""
        try:
            content = json.loads(data)
            # Anything beside would be something that nobody signed.
            if content.pop("format") != _FORMAT or not all(isinstance(content[name], str) for name in _TEXTS):
                raise ValueError
            hash_of(line_bytes(dict(content["line"])))
            return cls(**content)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, UnicodeError):
            raise StoreCorrupt(
                f"This is not a receipt of an erasure of format {_FORMAT}; give the file as it was handed out."
            ) from None

    def problems(self, *, public_key: str | None = None, log: Iterable[bytes] | None = None) -> list[str]:
        """What is wrong with it, in words: nothing where it is sound.

        With ``public_key`` it has to be of that signer, and with ``log``, the lines of an audit log, to be in there.
        """
        found = []
        if self.line.get("event") != EVENT:
            found.append("its line is not that of an erasure")
        if public_key is not None and public_key != self.public_key:
            found.append("it was signed by another key than the one expected")
        if self.hash != hash_of(line_bytes(dict(self.line))):
            found.append("its hash is not that of its line, which was changed")
        if not is_signed(_signed_text(self.hash), signature=self.signature, public_key=self.public_key):
            found.append("its signature does not match what it says")
        if log is not None:
            matching: list[str] = []
            checked = check_log(
                log,
                public_key=self.public_key,
                seen=lambda _, hash_: matching.append(hash_) if hash_ == self.hash else None,
            )
            found += [f"the log is not whole: {problem}" for problem in checked.problems]
            if not matching:
                found.append("the log does not hold its line")
        return found


def _signed_text(hash_: str) -> str:
    return f"hypernet receipt\n{hash_}"
