"""Requests for whole objects to an S3 server, by libcurl: sent once, over in time, and half as dear as in Python."""

import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import certifi
import pycurl
from minio import time as clock
from pydantic import SecretStr

from hypernet.errors import InternalError

_BUFFER_BYTES = 512 << 10
"""Every piece of a body is a call into Python, for which a thread has to wait its turn."""
_MIN_TIMEOUT_S = 0.01


class RequestFailed(Exception):
    """There was no answer, or none that is whole; the request may have been heard. Says why, in the library's words."""


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What requests are signed with, by AWS's Signature Version 4."""

    access_key: str
    secret_key: SecretStr
    region: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a server said."""

    status: int
    head: list[bytes] = field(repr=False)
    """Line by line, those of answers before it included, which only say that another will follow."""
    data: bytes = field(repr=False)

    def header(self, name: str) -> str:
        """The header of that name, which is in lower case. Raises: `KeyError`."""
        sign = f"{name}:".encode()
        for line in reversed(self.head):
            if line[: len(sign)].lower() == sign:
                return line[len(sign) :].decode("latin-1").strip()
            if line.startswith(b"HTTP/"):
                break
        raise KeyError(name)


class S3Transport:
    """Connections to one server, kept for whoever comes next; safe for many threads.

    A request is sent once: libcurl would send one again by itself that went over a connection the server had closed
    meanwhile, but not one whose body it cannot read a second time, and of the others it makes no difference.
    """

    def __init__(self, credentials: Credentials, *, connections: int) -> None:
        """Keeps up to ``connections`` of them open; as many are made as there are threads."""
        self._credentials = credentials
        self._kept = connections
        self._idle: list[pycurl.Curl] = []
        """Without a lock: to take one and to give it back is a single step of the interpreter's each."""
        self._certificates = _certificates()

    def get(self, url: str, *, timeout_s: float) -> Answer:
        """Raises: `RequestFailed`, after ``timeout_s`` at the latest, or when the machine's resolver gives up."""
        return self._request(url, body=None, headers={}, timeout_s=timeout_s)

    def put(self, url: str, data: bytes | bytearray, *, headers: dict[str, str], timeout_s: float) -> Answer:
        """Raises: `RequestFailed`, as `get` does."""
        return self._request(url, body=data, headers=headers, timeout_s=timeout_s)

    def close(self) -> None:
        """Closes the connections that nobody uses."""
        self._kept = 0
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def _request(
        self, url: str, *, body: bytes | bytearray | None, headers: dict[str, str], timeout_s: float
    ) -> Answer:
        head: list[bytes] = []
        pieces: list[bytes] = []
        try:
            curl = self._idle.pop()
        except IndexError:
            curl = self._made()
        try:
            self._prepare(curl, headers=headers)
            curl.setopt(pycurl.URL, url)
            curl.setopt(pycurl.TIMEOUT_MS, int(1000 * max(timeout_s, _MIN_TIMEOUT_S)))
            curl.setopt(pycurl.HEADERFUNCTION, head.append)
            curl.setopt(pycurl.WRITEFUNCTION, pieces.append)
            if body is not None:
                curl.setopt(pycurl.UPLOAD, 1)
                curl.setopt(pycurl.INFILESIZE_LARGE, len(body))
                curl.setopt(pycurl.READFUNCTION, _Body(body).read)
            curl.perform()
            status = int(curl.getinfo(pycurl.RESPONSE_CODE))
        except pycurl.error as error:
            curl.close()
            raise RequestFailed(str(error.args[-1]) or f"libcurl says {error.args[0]}") from None
        except BaseException:
            curl.close()
            raise
        self._keep(curl)
        return Answer(status=status, head=head, data=b"".join(pieces))

    def _made(self) -> pycurl.Curl:
        try:
            return pycurl.Curl()
        except pycurl.error as error:
            raise RequestFailed(str(error)) from None

    def _prepare(self, curl: pycurl.Curl, *, headers: dict[str, str]) -> None:
        """Sets what is the same for all requests, and the headers, which are signed with the rest."""
        curl.setopt(pycurl.NOSIGNAL, 1)  # which is for threads
        curl.setopt(pycurl.BUFFERSIZE, _BUFFER_BYTES)
        curl.setopt(pycurl.UPLOAD_BUFFERSIZE, _BUFFER_BYTES)
        curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        curl.setopt(pycurl.USERAGENT, "hypernet")
        # As for the requests that other libraries make, whatever the environment says.
        curl.setopt(pycurl.PROXY, "")
        for option in (pycurl.CAINFO, pycurl.CAPATH):
            if option in self._certificates:
                curl.setopt(option, self._certificates[option])
            else:
                curl.unsetopt(option)  # what the library was built with
        curl.setopt(pycurl.AWS_SIGV4, f"aws:amz:{self._credentials.region}:s3")
        # As bytes, since they need not be ASCII.
        curl.setopt(pycurl.USERNAME, self._credentials.access_key.encode())
        curl.setopt(pycurl.PASSWORD, self._credentials.secret_key.get_secret_value().encode())
        signed = headers | {
            # What is in the body says itself that it is whole: it is sealed.
            "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
            # By the clock that the requests of the client library go by.
            "X-Amz-Date": f"{clock.utcnow():%Y%m%dT%H%M%SZ}",
        }
        # libcurl leaves out a header without a value, as it is to do with the one by which a server is asked to ask for
        # the body, and with no other: a condition that is not sent is one that holds.
        if not all(signed.values()):
            raise InternalError("A request was to be made under a condition on nothing.")
        curl.setopt(pycurl.HTTPHEADER, ["Expect:", *(f"{name}: {value}" for name, value in signed.items())])

    def _keep(self, curl: pycurl.Curl) -> None:
        curl.reset()  # else it would hold what was sent and read, and what one has set would go with the next one
        if len(self._idle) < self._kept:  # or a few more, if many come at once
            self._idle.append(curl)
            if not self._kept:  # closed meanwhile
                self.close()
        else:
            curl.close()


class _Body:
    """What is sent, piece by piece, of which there is no second copy."""

    def __init__(self, data: bytes | bytearray) -> None:
        self._left = memoryview(data)

    def read(self, size: int) -> bytes:
        """The next piece; empty at the end."""
        piece, self._left = self._left[:size], self._left[size:]
        return bytes(piece)


def _certificates() -> dict[int, str]:
    """Whom to trust: the machine's authorities, where Python finds them, or Mozilla's."""
    found = ssl.get_default_verify_paths()
    options = {}
    if found.cafile is not None:
        options[pycurl.CAINFO] = found.cafile
    with suppress(OSError):
        if found.capath and any(Path(found.capath).iterdir()):
            options[pycurl.CAPATH] = found.capath
    return options or {pycurl.CAINFO: certifi.where()}
