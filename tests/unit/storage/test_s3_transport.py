"""What a request by libcurl comes to where the server does as it likes."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from hypernet.errors import InternalError
from hypernet.storage.s3_transport import Credentials, RequestFailed, S3Transport

CREDENTIALS = Credentials(access_key="somebody", secret_key=SecretStr("a secret"), region="here-1")
OK = b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\nETag: "t"\r\n\r\nbody'
Reply = bytes | None | Callable[[socket.socket], None]
"""What is sent for a request; None for a connection that is closed upon it."""


class Scripted:
    """A server that answers the requests it gets, over any number of connections, one by one as it was told."""

    def __init__(self, replies: list[Reply], context: ssl.SSLContext | None) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self._replies = replies
        self._is_closing = False
        self._context = context
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http{'s' * (context is not None)}://127.0.0.1:{self._socket.getsockname()[1]}/bucket/name"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._is_closing = True
        with suppress(OSError), socket.create_connection(self._socket.getsockname()):  # which the thread waits for
            pass
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                accepted, _ = self._socket.accept()
                if self._is_closing:
                    accepted.close()
                    return
                self.connections += 1
                with self._context.wrap_socket(accepted, server_side=True) if self._context else accepted as peer:
                    self._answer(peer)
            except OSError:
                if self._is_closing:
                    return

    def _answer(self, peer: socket.socket) -> None:
        while request := _request_from(peer):
            self.requests.append(request)
            reply = self._replies.pop(0)
            if reply is None:
                return
            if callable(reply):
                reply(peer)
            else:
                peer.sendall(reply)


def _request_from(peer: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = peer.recv(65536)
        if not piece:
            return b""
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line.partition(b":")[2] for line in head.splitlines() if line.lower().startswith(b"content-length:")]
    while len(body) < int((lengths or [b"0"])[0]):
        body += peer.recv(65536)
    return head + b"\r\n\r\n" + body


@contextmanager
def served(*replies: Reply, context: ssl.SSLContext | None = None) -> Iterator[Scripted]:
    server = Scripted(list(replies), context)
    yield server
    server.close()


@pytest.fixture
def transport() -> Iterator[S3Transport]:
    made = S3Transport(CREDENTIALS, connections=2)
    yield made
    made.close()


def test_answer_is_what_the_server_said_and_the_connection_is_used_again(transport):
    with served(OK, b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno") as server:
        first, second = (transport.get(server.url, timeout_s=5) for _ in range(2))
    assert (first.status, first.header("etag"), first.data) == (200, '"t"', b"body")
    assert (second.status, second.header("content-length"), second.data) == (404, "2", b"no")
    with pytest.raises(KeyError):
        second.header("etag")
    assert server.connections == 1


def test_headers_of_one_request_do_not_go_with_the_next_one(transport):
    with served(OK, OK, OK) as server:
        transport.put(server.url, b"data", headers={"If-Match": "t"}, timeout_s=5)
        transport.get(server.url, timeout_s=5)
        transport.put(server.url, b"", headers={}, timeout_s=5)
    assert b"If-Match: t" in server.requests[0]
    assert server.requests[0].endswith(b"\r\n\r\ndata")
    assert server.requests[1].startswith(b"GET /bucket/name HTTP/1.1\r\n")
    assert server.requests[2].startswith(b"PUT /bucket/name HTTP/1.1\r\n")
    assert not [line for request in server.requests[1:] for line in request.splitlines() if b"If-" in line]


def test_request_is_signed_with_its_condition_and_without_the_secret(transport):
    with served(OK) as server:
        transport.put(server.url, b"data", headers={"If-None-Match": "*"}, timeout_s=5)
    (signed,) = (line for line in server.requests[0].splitlines() if line.startswith(b"Authorization: "))
    assert b"Credential=somebody/" in signed
    assert b"/here-1/s3/aws4_request" in signed
    assert b"if-none-match" in signed
    assert b"a secret" not in server.requests[0]


def test_condition_on_nothing_is_not_left_out(transport):
    with served(OK) as server:
        with pytest.raises(InternalError, match="condition on nothing"):
            transport.put(server.url, b"data", headers={"If-Match": ""}, timeout_s=5)
        assert server.requests == []


def test_secret_that_is_not_ascii_is_signed_with():
    credentials = Credentials(access_key="somebody", secret_key=SecretStr("gehüim"), region="here-1")
    with served(OK) as server:
        assert S3Transport(credentials, connections=1).get(server.url, timeout_s=5).status == 200
    assert b"Credential=somebody/" in server.requests[0]


def test_transport_that_was_closed_keeps_no_connection(transport):
    with served(OK, OK) as server:
        transport.get(server.url, timeout_s=5)
        transport.close()
        transport.close()
        transport.get(server.url, timeout_s=5)
        assert transport._idle == []
    assert server.connections == 2


def test_body_that_may_have_been_heard_is_not_sent_again(transport):
    with served(OK, None, OK) as server:
        transport.get(server.url, timeout_s=5)
        with pytest.raises(RequestFailed):
            transport.put(server.url, b"data", headers={"If-Match": "t"}, timeout_s=5)
        assert len(server.requests) == 2
        assert transport.get(server.url, timeout_s=5).data == b"body"
    assert server.connections == 2


def test_connection_that_was_closed_while_nobody_used_it_is_in_nobodys_way(transport):
    def last(peer: socket.socket) -> None:
        peer.sendall(OK)
        peer.shutdown(socket.SHUT_RDWR)

    with served(last, OK) as server:
        transport.get(server.url, timeout_s=5)
        time.sleep(1.2)  # libcurl looks once a second; sooner, the request fails
        assert transport.put(server.url, b"data", headers={}, timeout_s=5).status == 200
    assert (server.connections, len(server.requests)) == (2, 2)


def test_time_is_for_the_whole_request_however_busy_the_server_seems(transport):
    def drip(peer: socket.socket) -> None:
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1000):
            peer.sendall(b"x")
            time.sleep(0.05)

    with served(drip) as server:
        start = time.monotonic()
        with pytest.raises(RequestFailed, match="timed out"):
            transport.get(server.url, timeout_s=0.5)
        assert 0.4 < time.monotonic() - start < 5


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbo",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
)
def test_answer_that_is_not_whole_or_none_is_a_failure(transport, reply):
    def cut(peer: socket.socket) -> None:
        peer.sendall(reply)
        peer.shutdown(socket.SHUT_RDWR)

    with served(cut) as server, pytest.raises(RequestFailed):
        transport.get(server.url, timeout_s=5)


def test_headers_are_those_of_the_last_of_several_answers(transport):
    early = b"HTTP/1.1 100 Continue\r\nETag: early\r\nOnly: there\r\n\r\n"
    with served(early + OK) as server:
        answer = transport.put(server.url, b"data", headers={}, timeout_s=5)
    assert answer.header("etag") == '"t"'
    with pytest.raises(KeyError):
        answer.header("only")


def test_redirection_is_an_answer_and_not_followed(transport):
    with served(b"HTTP/1.1 307 Away\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n") as server:
        assert transport.get(server.url, timeout_s=5).status == 307


def test_server_of_whom_nobody_vouches_is_not_told_anything(tmp_path, monkeypatch):
    context = _certified(tmp_path / "server.pem")
    with served(OK, context=context) as server:
        with pytest.raises(RequestFailed, match="certificate"):
            S3Transport(CREDENTIALS, connections=1).get(server.url, timeout_s=5)
        assert server.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.pem"))
        assert S3Transport(CREDENTIALS, connections=1).get(server.url, timeout_s=5).data == b"body"


def _certified(path: Path) -> ssl.SSLContext:
    """What a server of 127.0.0.1 serves by, under a certificate that it has signed itself and that lies at the path."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a server of a test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    path.with_suffix(".key").write_bytes(private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, path.with_suffix(".key"))
    return context
