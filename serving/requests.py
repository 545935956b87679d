"""What routes take from a request before their own work: the caller's tenant, the user in the path, conditions."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Header, Path, Request, Security
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel

from hypernet.storage import TenantScope
from serving.errors import ErrorAnswer
from serving.keys import KeyRing
from serving.preconditions import Preconditions
from serving.user_names import decoded_user

_bearer = HTTPBearer(auto_error=False, description="An API key of your tenant.")


def authenticated(keys: KeyRing) -> Callable[..., TenantScope]:
    """A dependency: the scope of the request's API key. Raises `AuthenticationError`."""

    def scope(
        request: Request,
        # Read below from the header itself; named here so that the OpenAPI document says how to authenticate.
        credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
    ) -> TenantScope:
        return keys.scope_of(request.headers.get("authorization"))

    return scope


def user_in_path(
    user: Annotated[str, Path(description="Your name for the user: 1 to 128 characters, percent-encoded.")],
) -> str:
    """A dependency: the decoded user. Raises `InvalidName`."""
    return decoded_user(user)


def preconditions(
    if_match: Annotated[str | None, Header(description='Go on only over one of these ETags; "*" for any.')] = None,
    if_none_match: Annotated[
        str | None, Header(description='Go on only over none of these ETags; "*" for: only if there is none.')
    ] = None,
) -> Preconditions:
    """A dependency: the request's conditions. Raises `InvalidRequest`."""
    return Preconditions.from_headers(if_match=if_match, if_none_match=if_none_match)


def json_answer(answer: BaseModel, *, status: int = 200, headers: dict[str, str] | None = None) -> JSONResponse:
    """`answer` as a JSON response."""
    return JSONResponse(answer.model_dump(mode="json"), status_code=status, headers=headers)


def error_statuses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI entries of a route's refusals."""
    return {status: {"model": ErrorAnswer} for status in statuses}
