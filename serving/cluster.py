"""A Ray instance of this process's own, for running the service on one machine: started, and stopped, whole."""

import errno
import logging
import os
import secrets
import shutil
import socket
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypernet.errors import InternalError, PortInUse, SettingsError
from hypernet.settings import Settings
from serving.run_folder import LOG_NAME, read_failure

if TYPE_CHECKING:
    from ray.serve import Application
    from ray.serve.handle import DeploymentHandle

logger = logging.getLogger("serving")

APPLICATION = "hypernet"

# Ray and HAProxy put Unix sockets below the folder, behind 56 characters of Ray's own, and HAProxy takes paths of 97.
_MAX_TEMP_CHARACTERS = 6
_START_ATTEMPTS = 2


def bound_port(host: str, port: int) -> int:
    """`port` if this process can listen on it, or a free one for 0; raises `PortInUse` or `SettingsError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As the server will do: a port whose last connections are still winding down can be listened on.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            # Listening is what fails where another server bound the same port for reuse.
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(
                    f"Port {port} on {host} is in use by another program. Stop that program, or choose another port "
                    "with --port or HYPERNET_PORT (0 takes a free one)."
                ) from None
            raise SettingsError(
                f"Cannot listen on {host} port {port}: {error.strerror or type(error).__name__}."
            ) from None
        return int(probe.getsockname()[1])


class LocalCluster:
    """Ray and Ray Serve on this machine, for one application.

    `start` begins a new Ray instance, whatever others run here, with a folder, an access token and a worker pool of its
    own; `stop` ends exactly the processes it began and removes the folder. Ray allows one at a time in a process.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._cleanup = ExitStack()
        self._handle: DeploymentHandle[Any] | None = None
        self._log_position = 0
        self.folder = Path()
        """Holds everything of this run, while it runs."""

    def start(self) -> None:
        """Starts Ray and Ray Serve: some seconds. Leaves nothing behind if it fails.

        To be called before anything imports Ray, which reads its environment, the access token's place among it, then.
        """
        if "ray" in sys.modules:
            raise InternalError("Ray was imported before its environment was set up.")
        with ExitStack() as cleanup:
            parent = tempfile.gettempdir()
            if len(parent) > _MAX_TEMP_CHARACTERS:
                parent = "/tmp"  # noqa: S108 (mkdtemp makes a private folder in it)
            self.folder = Path(tempfile.mkdtemp(prefix="hypernet-", dir=parent))
            cleanup.callback(shutil.rmtree, self.folder, ignore_errors=True)
            os.environ.update(self._environment())
            os.environ.pop("RAY_ADDRESS", None)
            import ray.serve

            cleanup.callback(ray.shutdown)
            logging.getLogger("ray.serve").setLevel(logging.ERROR)
            for attempt in range(1, _START_ATTEMPTS + 1):
                try:
                    self._start_ray()
                # Ray raises a bare Exception when its processes are not up within its own 30 s, as on a busy machine.
                except Exception as error:
                    ray.shutdown()
                    if attempt == _START_ATTEMPTS:
                        reason = [type(error).__name__, *str(error).split("\n")][-1].strip()
                        raise InternalError(f"Ray did not start, in {attempt} attempts: {reason}") from error
                else:
                    break
            self._cleanup = cleanup.pop_all()

    def _start_ray(self) -> None:
        import ray
        from ray import serve

        ray.init(
            address="local",
            num_cpus=self._settings.replicas + 1,
            include_dashboard=False,
            object_store_memory=self._settings.object_store_bytes,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _node_ip_address="127.0.0.1",
            _temp_dir=str(self.folder),
        )
        serve.start(
            http_options={"host": self._settings.host, "port": self._settings.port},
            logging_config={"log_level": "ERROR", "enable_access_log": False},
        )

    def stop(self) -> None:
        """Ends what `start` began. Idempotent."""
        self._cleanup.close()

    def run(self, application: "Application") -> None:
        """Deploys `application` at `/`; returns once it answers. Raises the error that kept it from starting."""
        from ray import serve

        try:
            self._handle = serve.run(application, name=APPLICATION, route_prefix="/")
        except RuntimeError as error:
            # Ray has no more than the text of a replica's exception; the replica itself left a report.
            raise read_failure(self.folder) or error from None

    def drain(self, timeout_s: float) -> None:
        """Has every replica refuse new requests and end those in progress, for at most `timeout_s`."""
        if self._handle is None:
            return
        try:
            self._handle.broadcast("drain", timeout_s).results(timeout_s=timeout_s + 1)
        # Whatever happens to replicas by now (Ray's errors are many and share no base), the stop goes on.
        except Exception as error:  # noqa: BLE001
            logger.warning("not every request could be ended in time (%s)", type(error).__name__)

    def new_log_lines(self) -> str:
        """What replicas have written for the operator since the last call."""
        try:
            with (self.folder / LOG_NAME).open(encoding="utf-8", errors="replace") as file:
                file.seek(self._log_position)
                lines = file.read()
                self._log_position = file.tell()
                return lines
        except FileNotFoundError:
            return ""

    def _environment(self) -> dict[str, str]:
        token = self.folder / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32), encoding="ascii")
        variables = {
            # Whoever reaches Ray's ports can run code as this user: only holders of this token may.
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_USAGE_STATS_ENABLED": "0",
            "HF_HUB_OFFLINE": "1",
            "RAY_SERVE_LOG_TO_STDERR": "0",
        }
        if self._settings.ingress == "haproxy":
            folder = self.folder / "h"
            folder.mkdir()
            metrics, stats, fallback = _free_ports(3)
            variables |= {
                "RAY_SERVE_ENABLE_HA_PROXY": "1",
                "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
                # Which that would switch off: this process, which drains the replicas, runs no event loop of its own.
                "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "1",
                # Ray's defaults are fixed names and ports, which two services on one machine would share.
                "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
                "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
                "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
                "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
                "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
                "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
                "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
                "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(fallback),
                # Unset, stopping waits 30 s; Ray heeds them only together.
                "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
                "RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S": "1",
            }
        return variables


def _free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on now, all different."""
    with ExitStack() as held:
        # All are held at once, or the same one could be given twice.
        return [held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(count)]
