"""A proxy on loopback between a client and an S3 server, for what networks and servers do to requests."""

import socket
import socketserver
import threading
from collections.abc import Callable
from dataclasses import replace

from hypernet.storage.s3 import Server

_PIECE_BYTES = 65536


class Proxy(socketserver.ThreadingTCPServer):
    """Passes bytes between clients and a server, unless it is told otherwise."""

    daemon_threads = allow_reuse_address = True

    def __init__(self, server: Server) -> None:
        host, _, port = server.endpoint.partition(":")
        self.target = (host, int(port))
        self.down = False
        """Whether every connection ends at once."""
        self.answers_to_lose = 0
        """Answers that are not passed on; the connection ends instead."""
        self.uploads_to_cut: list[int] = []
        """For each of the next long uploads: after how many bytes the connection ends."""
        self.downloads_to_cut: list[int] = []
        """For each of the next long answers: the same."""
        self.on_cut: Callable[[], object] = lambda: None
        """Called when an upload is cut, while the server still waits for the rest."""
        super().__init__(("127.0.0.1", 0), _Passing)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def server_for(self, server: Server) -> Server:
        """The server as it is reached through here."""
        return replace(server, endpoint=f"127.0.0.1:{self.server_address[1]}")

    def close(self) -> None:
        """Takes no more connections."""
        self.shutdown()
        self.server_close()


class _Passing(socketserver.BaseRequestHandler):
    server: Proxy

    def handle(self) -> None:
        if self.server.down:
            return
        try:
            upstream = socket.create_connection(self.server.target)
        except OSError:  # gone, as seen from the other side
            return
        with upstream:
            threading.Thread(target=self._pass, args=(upstream,), daemon=True).start()
            passed = 0
            try:
                while data := upstream.recv(_PIECE_BYTES):
                    if self.server.answers_to_lose:
                        self.server.answers_to_lose -= 1
                        return
                    passed += len(data)
                    if _is_due(self.server.downloads_to_cut, passed):
                        return
                    self.request.sendall(data)
            except OSError:
                pass

    def _pass(self, upstream: socket.socket) -> None:
        passed = 0
        try:
            while (data := self.request.recv(_PIECE_BYTES)) and not self.server.down:
                passed += len(data)
                if _is_due(self.server.uploads_to_cut, passed):
                    self.server.on_cut()
                    break
                upstream.sendall(data)
            upstream.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def _is_due(cuts: list[int], passed: int) -> bool:
    """Whether a connection that has passed so many bytes is to end; each cut is made once."""
    if not cuts or passed < cuts[0]:
        return False
    cuts.pop(0)
    return True
