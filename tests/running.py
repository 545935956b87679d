"""What tests of a running service share: its keys, its limits, and how it is called."""

from dataclasses import dataclass
from pathlib import Path

import httpx

from serving.service import Service

ACME, RIVAL = "key-of-acme-0123456789", "key-of-rival-0123456789"
TENANTS = {ACME: "acme", RIVAL: "rival"}
BODY_LIMIT = 8192


@dataclass(frozen=True, kw_only=True)
class Running:
    """A service and where it answers."""

    service: Service
    url: str
    store_dir: Path

    def client(self, key: str | None = ACME) -> httpx.Client:
        """An HTTP client with a key."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60)


def put(client: httpx.Client, user: str, document: str | bytes, **headers: str) -> httpx.Response:
    """Makes an adapter for a user."""
    return client.put(
        f"/v1/users/{user}/adapter",
        content=document.encode() if isinstance(document, str) else document,
        headers={"Content-Type": "text/plain"} | {name.replace("_", "-"): value for name, value in headers.items()},
    )


def refusal(response: httpx.Response, status: int, code: str) -> dict:
    """The error of a response, once it is shown to be a refusal of this status and code in the one shape."""
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error"}
    error = response.json()["error"]
    assert set(error) == {"message", "type", "code", "param", "request_id"}
    assert error["code"] == code, error
    assert error["request_id"] == response.headers["x-request-id"]
    return error
