"""Every failure as one shape: OpenAI's error object plus a stable `code` and a `request_id`."""

import logging
import traceback

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hypernet.errors import (
    EngineBusy,
    EngineClosed,
    HypernetError,
    InternalError,
    InvalidRequest,
    StoreCorrupt,
    StoreUnavailable,
)

logger = logging.getLogger("serving")

RETRY_AFTER_S = 1

# What a client is told of failures on our side: enough to act on, nothing of files, hosts or other users.
_SAFE: dict[type[HypernetError], str] = {
    StoreUnavailable: "The adapter store is not available; try again.",
    EngineClosed: "The service is stopping; try again.",
    StoreCorrupt: "What is stored for this user is damaged; send the document again.",
}
_OURS = "The service failed; its log has the details under this request id."


class ErrorBody(BaseModel):
    """What went wrong, for a person (`message`) and for a program (`type`, `code`, `param`)."""

    message: str
    type: str
    code: str
    param: str | None
    request_id: str


class ErrorAnswer(BaseModel):
    """The body of every answer that is not a success."""

    error: ErrorBody


def error_answer(error: Exception, *, request_id: str) -> ErrorAnswer:
    """The answer for any exception; one that is not ours becomes `internal_error` with nothing of it in the message."""
    ours = error if isinstance(error, HypernetError) else InternalError(_OURS)
    message = ours.message
    if ours.http_status >= 500:
        message = next((text for kind, text in _SAFE.items() if isinstance(ours, kind)), _OURS)
    return ErrorAnswer(
        error=ErrorBody(
            message=message, type=_type(ours.http_status), code=ours.code, param=ours.param, request_id=request_id
        )
    )


def error_response(error: Exception, *, request_id: str) -> JSONResponse:
    """`error_answer` with its HTTP status and headers; failures on our side are logged."""
    status = error.http_status if isinstance(error, HypernetError) else 500
    if status >= 500:
        log_failure(error, request_id=request_id)
    headers = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, (EngineBusy, EngineClosed, StoreUnavailable)):
        headers["Retry-After"] = str(RETRY_AFTER_S)
    return JSONResponse(error_answer(error, request_id=request_id).model_dump(), status_code=status, headers=headers)


def log_failure(error: Exception, *, request_id: str) -> None:
    """One log record with the exception's type and where it was raised; never its text, which may quote a document."""
    kinds: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        kinds.append(type(cause).__name__)
        cause = cause.__cause__ or cause.__context__
    frames = "".join(traceback.format_tb(error.__traceback__)[-12:])
    logger.error("request %s failed: %s\n%s", request_id, " from ".join(kinds), frames)


def request_id_of(scope: Scope) -> str:
    """The id that `serving.asgi.RequestIds` gave the request."""
    return str(scope.get("state", {}).get("request_id", ""))


class ErrorBoundary:
    """Turns whatever leaves the application into `error_response`, unless an answer has begun; raises nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves the request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = False

        async def noting_begin(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, noting_begin)
        except ClientDisconnect:
            # Nobody is left to answer.
            return
        # The last line of defence: any exception at all, so that no server prints its text or drops the connection.
        except Exception as error:  # noqa: BLE001
            if begun:
                log_failure(error, request_id=request_id_of(scope))
            else:
                await error_response(error, request_id=request_id_of(scope))(scope, receive, send)


def install_error_handlers(app: FastAPI) -> None:
    """Makes the framework's own refusals (no such route, wrong method) and ours come out in the one shape."""

    async def validation(request: Request, error: Exception) -> JSONResponse:
        problems = error.errors() if isinstance(error, RequestValidationError) else []
        location = [str(part) for part in problems[0]["loc"][1:]] if problems else []
        field = ".".join(location) or None
        message = f"Invalid {field}: {problems[0]['msg']}." if problems else "The request could not be read."
        return await ours(request, InvalidRequest(message, param=field))

    async def ours(request: Request, error: Exception) -> JSONResponse:
        return error_response(error, request_id=request_id_of(request.scope))

    async def framework(request: Request, error: Exception) -> JSONResponse:
        status = error.status_code if isinstance(error, HTTPException) else 400
        code, message = {
            404: ("route_not_found", "There is no such route; see /docs for those there are."),
            405: (
                "method_not_allowed",
                "The route exists, but not for this method; the Allow header lists its methods.",
            ),
        }.get(status, ("invalid_request", "The request could not be read."))
        answer = ErrorAnswer(
            error=ErrorBody(
                message=message, type=_type(status), code=code, param=None, request_id=request_id_of(request.scope)
            )
        )
        return JSONResponse(answer.model_dump(), status_code=status, headers=getattr(error, "headers", None))

    app.add_exception_handler(HypernetError, ours)
    app.add_exception_handler(HTTPException, framework)
    app.add_exception_handler(RequestValidationError, validation)


def _type(status: int) -> str:
    named = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
    return named.get(status, "server_error" if status >= 500 else "invalid_request_error")
