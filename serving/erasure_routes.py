"""Erasing a user, with a receipt."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from hypernet.storage import TenantScope
from serving.keys import KeyRing
from serving.preconditions import Preconditions
from serving.requests import authenticated, error_statuses, json_answer, preconditions, user_in_path
from serving.schemas import ErasureReceipt
from serving.service import Service


def erasure_routes(service: Service, keys: KeyRing) -> APIRouter:
    """`/v1/users/{user}:erase`."""
    scope_dependency = authenticated(keys)
    routes = APIRouter(
        prefix="/v1/users/{user}:erase",
        tags=["adapters"],
        dependencies=[Depends(scope_dependency)],
        responses=error_statuses(400, 401),
    )

    @routes.post(
        "",
        summary="Erase a user for good, with a receipt",
        response_model=ErasureReceipt,
        responses=error_statuses(404, 412, 503),
    )
    async def erase(
        scope: Annotated[TenantScope, Depends(scope_dependency)],
        user: Annotated[str, Depends(user_in_path)],
        conditions: Annotated[Preconditions, Depends(preconditions)],
    ) -> Response:
        """Refuses new requests, lets answers in progress end, destroys the user's key and removes all that is stored.

        What was copied before, backups included, cannot be decrypted any more once the key's own backups are gone. The
        receipt is a signed line of the audit log: `hypernet store verify-receipt` checks it without the store. Asked
        again, the same receipt comes again.
        """
        receipt = await service.erase(scope, user, preconditions=conditions)
        return json_answer(ErasureReceipt.of(receipt))

    return routes
