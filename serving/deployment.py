"""The application as Ray Serve deploys it: replicas that hold generator and base model on one backbone."""

import asyncio
import time
from pathlib import Path

from fastapi import FastAPI
from ray import serve
from ray.exceptions import TaskCancelledError
from ray.serve import Application
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hypernet.errors import HypernetError
from hypernet.settings import Settings
from serving.app import create_app
from serving.asgi import Gate
from serving.keys import KeyRing
from serving.run_folder import log_to, write_failure
from serving.service import Service

_HEALTH_CHECK_PERIOD_S = 5.0
_DRAIN_POLL_S = 0.05


class Departures:
    """Tells the application that its client has gone the way ASGI has it; Ray at times raises its own exception."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves the request."""

        async def receive_or_hear_of_departure() -> Message:
            try:
                return await receive()
            except TaskCancelledError:
                return {"type": "http.disconnect"}

        await self.app(scope, receive_or_hear_of_departure, send)


class Replica:
    """One replica: the service, and the ASGI application that Ray Serve feeds with requests."""

    def __init__(self, settings: Settings, keys: KeyRing, report_to: Path | None) -> None:
        if report_to is not None:
            log_to(report_to)
        try:
            self._service = Service.open(settings)
        except HypernetError as error:
            if report_to is not None:
                write_failure(report_to, error)
            raise
        self._gate = Gate()
        self._app = create_app(
            self._service, keys=keys, max_body_bytes=settings.max_body_bytes, gate=self._gate, behind_ray=True
        )
        self._app.add_middleware(Departures)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """The application; Ray Serve's name for this hook."""
        return self._app

    async def check_health(self) -> None:
        """Raises what is wrong with the engine, upon which Ray Serve replaces the replica; its name for this hook."""
        self._service.check_engine()

    async def drain(self, timeout_s: float) -> int:
        """Refuses new requests and waits for those in progress; returns how many are left after `timeout_s`."""
        self._gate.accepting = False
        deadline = time.monotonic() + timeout_s
        while self._gate.in_progress and time.monotonic() < deadline:
            await asyncio.sleep(_DRAIN_POLL_S)
        return self._gate.in_progress

    def __del__(self) -> None:
        service = getattr(self, "_service", None)
        if service is not None:
            service.close()


def build(settings: Settings, *, keys: KeyRing, report_to: Path | None = None) -> Application:
    """The application for `serve.run`. With the folder `report_to`, replicas log there for the operator."""
    deploy = serve.deployment(
        name="hypernet",
        num_replicas=settings.replicas,
        max_ongoing_requests=settings.max_ongoing_requests,
        max_queued_requests=settings.max_queued_requests,
        # A checkpoint that cannot be loaded once cannot be loaded at all.
        max_constructor_retry_count=1,
        health_check_period_s=_HEALTH_CHECK_PERIOD_S,
        graceful_shutdown_timeout_s=settings.shutdown_timeout_s,
        graceful_shutdown_wait_loop_s=0.1,
        ray_actor_options={"num_cpus": 1},
        # Ray's access log would hold paths, and so users' names.
        logging_config={"log_level": "WARNING", "enable_access_log": False},
    )
    application: Application = deploy(serve.ingress()(Replica)).bind(settings, keys, report_to)
    return application
