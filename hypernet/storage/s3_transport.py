"""Requests for whole objects to an S3 server, by libcurl: sent once, over in time, and half as dear as in Python."""

import io
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path

import certifi
import pycurl

_BUFFER_BYTES = 512 << 10
"""Every piece of a body is a call into Python, for which a thread has to wait its turn."""
_MIN_TIMEOUT_S = 0.01


class RequestFailed(Exception):
    """There was no answer, or none that is whole; the request may have been heard. Says why, in the library's words."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a server said."""

    status: int
    headers: dict[str, str]
    """By name in lower case."""
    data: bytes


class S3Transport:
    """Connections to one server, kept for whoever comes next; safe for many threads.

    A request is sent once: libcurl would send one again by itself that went over a connection the server had closed
    meanwhile, but not one whose body it cannot read a second time, and of the others it makes no difference.
    """

    def __init__(self, *, connections: int) -> None:
        """Keeps up to ``connections`` of them open; as many are made as there are threads."""
        self._kept = connections
        self._lock = threading.Lock()
        self._idle: list[pycurl.Curl] = []
        self._certificates = _certificates()

    def get(self, url: str, *, timeout_s: float) -> Answer:
        """Raises: `RequestFailed`, after ``timeout_s`` at the latest."""
        return self._request(url, body=None, headers={}, timeout_s=timeout_s)

    def put(self, url: str, data: bytes, *, headers: dict[str, str], timeout_s: float) -> Answer:
        """Raises: `RequestFailed`, after ``timeout_s`` at the latest."""
        return self._request(url, body=data, headers=headers, timeout_s=timeout_s)

    def close(self) -> None:
        """Closes the connections that nobody uses."""
        with self._lock:
            idle, self._idle, self._kept = self._idle, [], 0
        for curl in idle:
            curl.close()

    def _request(self, url: str, *, body: bytes | None, headers: dict[str, str], timeout_s: float) -> Answer:
        lines: list[bytes] = []
        pieces: list[bytes] = []
        with self._lock:
            curl = self._idle.pop() if self._idle else None
        if curl is None:
            curl = pycurl.Curl()
        try:
            self._prepare(curl)
            curl.setopt(pycurl.URL, url)
            curl.setopt(pycurl.TIMEOUT_MS, int(1000 * max(timeout_s, _MIN_TIMEOUT_S)))
            curl.setopt(pycurl.HEADERFUNCTION, lines.append)
            curl.setopt(pycurl.WRITEFUNCTION, pieces.append)
            if body is not None:
                curl.setopt(pycurl.UPLOAD, 1)
                curl.setopt(pycurl.INFILESIZE_LARGE, len(body))
                curl.setopt(pycurl.READFUNCTION, io.BytesIO(body).read)
                # Without waiting to be asked for the body.
                curl.setopt(pycurl.HTTPHEADER, ["Expect:", *(f"{name}: {value}" for name, value in headers.items())])
            curl.perform()
            status = int(curl.getinfo(pycurl.RESPONSE_CODE))
        except pycurl.error as error:
            curl.close()
            raise RequestFailed(str(error.args[-1]) or f"libcurl says {error.args[0]}") from None
        except BaseException:
            curl.close()
            raise
        self._keep(curl)
        return Answer(status=status, headers=_headers(lines), data=b"".join(pieces))

    def _prepare(self, curl: pycurl.Curl) -> None:
        """Sets what is the same for all requests."""
        curl.setopt(pycurl.NOSIGNAL, 1)  # which is for threads
        curl.setopt(pycurl.BUFFERSIZE, _BUFFER_BYTES)
        curl.setopt(pycurl.UPLOAD_BUFFERSIZE, _BUFFER_BYTES)
        curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        curl.setopt(pycurl.USERAGENT, "hypernet")
        # As for the requests that other libraries make, whatever the environment says.
        curl.setopt(pycurl.PROXY, "")
        for option, value in self._certificates.items():
            curl.setopt(option, value)

    def _keep(self, curl: pycurl.Curl) -> None:
        curl.reset()  # else it would hold what was sent and read, and what one has set would go with the next one
        with self._lock:
            if len(self._idle) < self._kept:
                self._idle.append(curl)
                return
        curl.close()


def _certificates() -> dict[int, str]:
    """Whom to trust: the machine's authorities, where Python finds them, or Mozilla's."""
    found = ssl.get_default_verify_paths()
    options = {}
    if found.cafile is not None:
        options[pycurl.CAINFO] = found.cafile
    if found.capath and any(Path(found.capath).iterdir()):
        options[pycurl.CAPATH] = found.capath
    return options or {pycurl.CAINFO: certifi.where()}


def _headers(lines: list[bytes]) -> dict[str, str]:
    """Of the last of several answers: one that only says that another will follow comes before it."""
    found: dict[str, str] = {}
    for line in lines:
        if line.startswith(b"HTTP/"):
            found.clear()
            continue
        name, _, value = line.decode("latin-1").partition(":")
        if name.strip():  # unlike the line that ends them
            found[name.strip().lower()] = value.strip()
    return found
