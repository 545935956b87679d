"""One change of one user's adapter: its name, and what the audit log says of it."""

import os
from contextlib import suppress
from types import TracebackType
from typing import Any

from hypernet.errors import InternalError, NotFound, PreconditionFailed, StoreError
from hypernet.storage.audit_log import AuditEntry, AuditLine, AuditLog
from hypernet.storage.keys import UserPath


class Change:
    """A change from its announcement to its commit; a context that withdraws what was refused in the end.

    A refusal is known to have changed nothing. After any other failure it is not known, and the pointer tells.
    """

    def __init__(self, key: UserPath, *, log: AuditLog) -> None:
        self.name = os.urandom(16).hex()
        """By which the log and the pointer know it; a further attempt at the same change has the same one."""
        self._key = key
        self._log = log
        self._entry: AuditEntry | None = None
        self._may_be_made = False

    def announce(self, event: str, **facts: Any) -> None:
        """Hands to the log what is about to be done, which may be prepared meanwhile."""
        self._entry = self._log.begin(self._key.scope, event, user=self._key, change=self.name, **facts)
        self._may_be_made = False

    def announced(self) -> AuditLine:
        """Returns when that is durable; only then may it be done."""
        if self._entry is None:
            raise InternalError("A change was to be made that had not been announced.")
        line = self._log.wait(self._key.scope, self._entry)
        self._may_be_made = True
        return line

    def overtaken(self) -> None:
        """Notes that an attempt at it was not made, because somebody else was ahead."""
        self._may_be_made = False

    def withdraw(self) -> None:
        """Says in the log that what was announced, if anything was, is not going to be done."""
        entry, self._entry = self._entry, None
        if entry is not None and not self._log.take_back(self._key.scope, entry):
            self._log.append(self._key.scope, "withdrawn", user=self._key, change=self.name)

    def __enter__(self) -> "Change":
        """The change itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Withdraws what was announced and was then refused, or failed before it could be made."""
        if isinstance(error, PreconditionFailed | NotFound):
            self.withdraw()
        elif isinstance(error, Exception) and not self._may_be_made:
            with suppress(StoreError):  # the log may be what has failed
                self.withdraw()
