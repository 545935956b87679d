"""Objects in a bucket of MinIO, Amazon S3 or any other server that speaks S3 and keeps its conditions."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import quote
from xml.etree import ElementTree

import urllib3
from minio import Minio
from minio.error import InvalidResponseError, S3Error, ServerError
from pydantic import SecretStr
from urllib3.exceptions import HTTPError

from hypernet.errors import ObjectChanged, SettingsError, StoreUnavailable
from hypernet.storage.object_storage import StoredObject
from hypernet.storage.s3_transport import Answer, Credentials, RequestFailed, S3Transport

_Result = TypeVar("_Result")
_ABSENT = frozenset({"NoSuchKey", "NoSuchObject"})
_DENIED = "AccessDenied"
_PASSING = frozenset(
    {
        "InternalError",
        "SlowDown",
        "ServiceUnavailable",
        "RequestTimeout",
        # Somebody else was writing at that moment: the condition was not looked at.
        "OperationAborted",
        "ConditionalRequestConflict",
    }
)
_PASSING_STATUSES = frozenset({408, 425, 429})
"""Of what stands in front of a server."""
_MEANINGS = {
    "NoSuchBucket": "There is no such bucket. Create it, or name another one.",
    "SignatureDoesNotMatch": "The server refuses the secret key. Check HYPERNET_S3_SECRET_KEY.",
    "InvalidAccessKeyId": "The server does not know the access key. Check HYPERNET_S3_ACCESS_KEY.",
    _DENIED: "The server denies access. Check the keys and the policy of the bucket.",
    "RequestTimeTooSkewed": "The clocks of this machine and the server differ by more than it allows. Set them.",
}
_FAILURES = (
    *(RequestFailed, HTTPError, ServerError, InvalidResponseError, S3Error),
    *(KeyError, ValueError, ElementTree.ParseError),
)
"""What a server that fails, or is none, comes to; the last three from answers that are not S3."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """Where a bucket is, and how long it is waited for."""

    endpoint: str
    """Host, and port where it is not the usual one."""
    bucket: str
    access_key: str
    secret_key: SecretStr
    secure: bool = True
    """Whether to use TLS."""
    region: str | None = None
    prefix: str = ""
    """What every object's name begins with; ends in `/`, or is empty."""
    timeout_s: float = 10.0
    """Longest that one call takes, its retries included."""
    connections: int = 32


class S3Objects:
    """An `ObjectStorage` in a bucket, for any number of machines.

    The bucket must not be versioned: the store's versions are its own, and servers do not keep conditions there.
    `hypernet.storage.probe` finds out.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._closed = False
        self._deadlines = _Deadlines()
        # One attempt a request: the client's own five would each begin the time-out anew. Ours end together.
        self._http = _TimedPool(self._deadlines, num_pools=4, maxsize=server.connections, block=False, retries=False)
        region = server.region or "us-east-1"
        try:
            self._client = Minio(
                server.endpoint,
                access_key=server.access_key,
                secret_key=server.secret_key.get_secret_value(),
                secure=server.secure,
                # Named, so that the client need not ask the server for it before the first request.
                region=region,
                http_client=self._http,
            )
        except ValueError as error:
            raise SettingsError(f"The address of the S3 server is not one: {error}.") from None
        try:
            # Where objects are on this server, which is not the same everywhere.
            url = self._client.get_presigned_url("GET", server.bucket, "-")
        except ValueError as error:
            raise SettingsError(f"The name of the bucket is none: {error}.") from None
        self._objects_url = url.partition("?")[0].removesuffix("-")
        # For objects, which is what has to be quick and to go with conditions; the client does everything else.
        self._transport = S3Transport(
            Credentials(access_key=server.access_key, secret_key=server.secret_key, region=region),
            connections=server.connections,
        )

    def read(self, name: str) -> StoredObject | None:
        """As `ObjectStorage.read`."""

        def attempt() -> StoredObject | None:
            try:
                return self._get(name)
            except S3Error as error:
                if error.code in _ABSENT:
                    return None
                if error.code != _DENIED:
                    raise
            # To whoever may list only a part of the bucket, Ceph denies what is not there. What is there was made
            # meanwhile, or is denied indeed.
            return self._get(name) if self._is_listed(name) else None

        return self._retried(attempt)

    def write(self, name: str, data: bytes | bytearray) -> None:
        """As `ObjectStorage.write`; one request however large."""
        self._retried(lambda: self._put(name, data, {}))

    def swap(self, name: str, data: bytes, *, expected: str | None) -> str:
        """As `ObjectStorage.swap`, by `If-Match` or `If-None-Match` on the request."""
        # The tag unquoted: Ceph refuses the quoted one, and the others take both.
        condition = {"If-None-Match": "*"} if expected is None else {"If-Match": expected}
        unsure = False

        def attempt() -> str:
            nonlocal unsure
            try:
                return self._put(name, data, condition)
            except _Refused:
                present = self.read(name) if unsure else None
                if present is not None and present.data == data:
                    return present.tag  # our own first attempt, whose answer was lost
                raise ObjectChanged(
                    "An object was changed by somebody else meanwhile; read it again.", unsure=unsure
                ) from None
            except _FAILURES:
                unsure = True
                raise

        return self._retried(attempt)

    def settle(self, name: str) -> None:
        """As `ObjectStorage.settle`: what a server gives is durable."""

    def remove(self, name: str) -> None:
        """As `ObjectStorage.remove`."""
        self._retried(lambda: self._client.remove_object(self._server.bucket, self._key(name)))

    def remove_if(self, name: str, *, expected: str) -> bool:
        """As `ObjectStorage.remove_if`: False, since no condition on a deletion is kept by all servers."""
        self._check_open()
        return False

    def names(self, prefix: str, *, after: str | None = None, limit: int | None = None) -> dict[str, int]:
        """As `ObjectStorage.names`."""

        def attempt() -> dict[str, int]:
            listed = self._client.list_objects(
                self._server.bucket,
                prefix=self._key(prefix),
                recursive=True,
                start_after=None if after is None else self._key(after),
            )
            return {
                str(entry.object_name)[len(self._server.prefix) :]: int(entry.size or 0)
                for entry in islice(listed, limit)
            }

        return self._retried(attempt)

    def folders(self, prefix: str, *, after: str | None = None, limit: int = 1000) -> list[str]:
        """As `ObjectStorage.folders`; one request for a thousand of them."""
        start = self._key(prefix)
        # Behind all names of that folder: "0" is the character after "/".
        behind = None if after is None else f"{start}{after}0"

        def attempt() -> list[str]:
            listed = self._client.list_objects(
                self._server.bucket,
                prefix=start,
                start_after=behind,
                extra_query_params={"max-keys": str(min(limit, 1000))},
            )
            # Without a name is the marker of a folder that a console has made.
            found = (
                name
                for entry in listed
                if entry.is_dir and (name := str(entry.object_name)[len(start) : -1]) and name[0] != "."
            )
            return list(islice(found, limit))

        return self._retried(attempt)

    def tidy(self, prefix: str) -> None:
        """As `ObjectStorage.tidy`: a bucket has no folders."""

    def check(self) -> None:
        """As `ObjectStorage.check`: asks for an object that there is none of, and lists none.

        Where `probe` works, since who may reach one tenant only may not ask for the bucket.
        """
        self.read(".probe/check")
        self.names(".probe/check/")

    def make_bucket(self) -> None:
        """Creates the bucket unless there is one."""

        def attempt() -> None:
            if not self._client.bucket_exists(self._server.bucket):
                try:
                    self._client.make_bucket(self._server.bucket)
                except S3Error as error:
                    if error.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                        raise

        self._retried(attempt)

    def is_versioned(self) -> bool:
        """Whether the bucket keeps versions of its own, where some servers ignore conditions."""
        found = self._retried(lambda: self._client.get_bucket_versioning(self._server.bucket))
        return str(found.status) == "Enabled"

    def close(self) -> None:
        """As `ObjectStorage.close`."""
        self._closed = True
        self._transport.close()
        self._http.clear()

    @property
    def _where(self) -> str:
        return f"The object store at {self._server.endpoint} (bucket {self._server.bucket}):"

    def _key(self, name: str) -> str:
        return f"{self._server.prefix}{name}"

    def _get(self, name: str) -> StoredObject:
        answer = self._transport.get(self._url(name), timeout_s=self._deadlines.left_s)
        if answer.status != 200:
            raise _error_of(answer)
        return StoredObject(data=answer.data, tag=_tag_in(answer))

    def _url(self, name: str) -> str:
        return f"{self._objects_url}{quote(self._key(name), safe='/')}"

    def _is_listed(self, name: str) -> bool:
        """Whether there is an object of that name, as a listing says; also where listing is denied."""
        key = self._key(name)
        try:
            first = next(iter(self._client.list_objects(self._server.bucket, prefix=key, recursive=True)), None)
        except S3Error as error:
            if error.code == _DENIED:
                return True
            raise
        return first is not None and first.object_name == key

    def _put(self, name: str, data: bytes | bytearray, headers: dict[str, str]) -> str:
        answer = self._transport.put(self._url(name), data, headers=headers, timeout_s=self._deadlines.left_s)
        if answer.status == 200:
            return _tag_in(answer)
        # A condition on an object that there is none of: 404 on some servers.
        if headers and (answer.status == 412 or (answer.status == 404 and b"NoSuchKey" in answer.data)):
            raise _Refused
        raise _error_of(answer)

    def _retried(self, attempt: Callable[[], _Result]) -> _Result:
        """What `attempt` returns, tried again after what may pass until the time is up; every one may be repeated."""
        self._check_open()
        with self._deadlines.within(self._server.timeout_s):
            pause_s = 0.05
            while True:
                try:
                    return attempt()
                except _FAILURES as error:
                    if not _may_pass(error) or self._deadlines.left_s <= pause_s:
                        raise StoreUnavailable(f"{self._where} {_meaning(error)}") from None
                    time.sleep(random.uniform(0, pause_s))  # noqa: S311  (spreads retries out, hides nothing)
                    pause_s = min(2 * pause_s, 1.0)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("The store is closed.")


class _Deadlines:
    """When the call that a thread is in has to be over; a call inside a call ends with it."""

    def __init__(self) -> None:
        self._of_thread = threading.local()

    @property
    def left_s(self) -> float:
        """Seconds until then."""
        return float(self._of_thread.deadline - time.monotonic())

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Sets the deadline unless there is one."""
        if getattr(self._of_thread, "deadline", None) is not None:
            yield
            return
        self._of_thread.deadline = time.monotonic() + seconds
        try:
            yield
        finally:
            self._of_thread.deadline = None


class _TimedPool(urllib3.PoolManager):
    """Connections whose every request is waited for until the thread's deadline, and no longer."""

    def __init__(self, deadlines: _Deadlines, **options: Any) -> None:
        super().__init__(**options)
        self._deadlines = deadlines

    # As in urllib3 itself, whose own subclass differs from its base there.
    def urlopen(self, method: str, url: str, redirect: bool = True, **options: Any) -> Any:  # type: ignore[override]
        """As `PoolManager.urlopen`. Sending a body counts as connecting, so that has all the time too."""
        left_s = max(self._deadlines.left_s, 0.01)
        options["timeout"] = urllib3.Timeout(connect=left_s, read=left_s)
        return super().urlopen(method, url, redirect=redirect, **options)


class _Refused(Exception):
    """The server found that the condition of a request does not hold."""


def _tag_in(answer: Answer) -> str:
    tag = answer.header("etag").strip('"')
    if not tag:  # a condition on it would be none
        raise KeyError("etag")
    return tag


def _error_of(answer: Answer) -> Exception:
    response = urllib3.HTTPResponse(body=answer.data, status=answer.status)
    try:
        return S3Error.fromxml(response)
    except (ElementTree.ParseError, ValueError, KeyError, AttributeError):
        return ServerError("no error in the body", answer.status)


def _may_pass(error: Exception) -> bool:
    if isinstance(error, S3Error):
        return error.code in _PASSING or error.response.status >= 500
    if isinstance(error, ServerError):
        return error.status_code >= 500 or error.status_code in _PASSING_STATUSES
    return True


def _meaning(error: Exception) -> str:
    if isinstance(error, S3Error):
        return _MEANINGS.get(str(error.code), f"It answered {error.code} with status {error.response.status}.")
    if isinstance(error, ServerError):
        return f"It answered with status {error.status_code} and no reason. Check the address and the port."
    if isinstance(error, InvalidResponseError | KeyError | ValueError | ElementTree.ParseError):
        return "It answered with something that is not S3. Check the address and the port."
    reason = str(error) if isinstance(error, RequestFailed) else type(error).__name__
    return f"It cannot be reached in time ({reason}). Check the address, the network and the server."
