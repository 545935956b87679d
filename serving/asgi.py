"""What happens to every request before and after its route: its id, its raw path, and the size of its body."""

import re
import uuid
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hypernet.errors import EngineClosed, RequestTooLarge

REQUEST_ID_HEADER = "x-request-id"

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,200}")


class RequestIds:
    """Gives every request an id, in `scope["state"]` and in the answer's header; a well-formed one sent is kept.

    With `in_header` false the header is left to the server around the application, as Ray Serve's proxy, which makes up
    an id where none was sent, adds it by itself.
    """

    def __init__(self, app: ASGIApp, *, in_header: bool) -> None:
        self.app = app
        self.in_header = in_header

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves the request with its id set."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        sent = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
        request_id = sent if _REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if self.in_header and message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            await send(message)

        await self.app(scope, receive, send_with_id)


class RawPaths:
    """Routes on the path as it was sent, so that a route sees each segment still percent-encoded.

    Servers decode the whole path first, where an encoded slash turns into a separator and bytes that are not UTF-8
    into a replacement character; a handler could then not tell `a%2Fb` from `a/b`, nor decode exactly once.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves the request with `path` set to the raw path."""
        raw = scope.get("raw_path")
        if scope["type"] == "http" and raw is not None:
            # Latin-1 gives every byte a character; a byte beyond ASCII fails later, where a name is decoded.
            scope = {**scope, "path": raw.partition(b"?")[0].decode("latin-1")}
        await self.app(scope, receive, send)


class BodyLimit:
    """Refuses a body of more than `max_bytes`: by its declared length before reading, else once that much has come."""

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves the request; reading too much of its body raises `RequestTooLarge` in the handler that reads."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "")
        received = 0

        async def receive_within_limit() -> Message:
            nonlocal received
            if declared.isascii() and declared.isdigit() and int(declared[:20]) > self.max_bytes:
                raise self._too_large()
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_bytes:
                raise self._too_large()
            return message

        await self.app(scope, receive_within_limit, send)

    def _too_large(self) -> RequestTooLarge:
        return RequestTooLarge(
            f"Expected a request body of at most {self.max_bytes} bytes, got more; send a shorter document.",
            limit=self.max_bytes,
        )


@dataclass
class Gate:
    """Whether new requests are let in, and how many are inside."""

    accepting: bool = True
    in_progress: int = 0


class Gated:
    """Counts the requests in progress on its gate, and refuses new ones with `EngineClosed` once that is shut."""

    def __init__(self, app: ASGIApp, *, gate: Gate) -> None:
        self.app = app
        self.gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves the request."""
        if scope["type"] != "http" or scope["path"] == "/health/live":
            await self.app(scope, receive, send)
            return
        if not self.gate.accepting:
            raise EngineClosed("The service is stopping.")
        self.gate.in_progress += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.gate.in_progress -= 1
