"""`hypernet serve`: the service on this machine, on a Ray instance of its own."""

import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hypernet.settings import Settings

_POLL_S = 0.2


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.", show_default="HYPERNET_HOST, else 127.0.0.1")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; 0 takes a free one.", show_default="HYPERNET_PORT, else 8000")
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="Checkpoint to serve.", show_default="HYPERNET_CHECKPOINT, else tiny")
    ] = None,
    store_dir: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the adapter store.", show_default="HYPERNET_STORE_DIR, else ~/.local/share/hypernet"
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings, as in configs/serving/.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Say that it is ready with one line of JSON.")] = False,
) -> None:
    """Run the service until Ctrl-C or SIGTERM. Every setting is also a HYPERNET_* variable."""
    from hypernet import checkpoints
    from hypernet.cli.output import working
    from hypernet.settings import read_settings
    from serving.cluster import LocalCluster, bound_port
    from serving.keys import KeyRing, new_key, read_keys

    settings = read_settings(file=config, host=host, port=port, checkpoint=checkpoint, store_dir=store_dir)
    keys = read_keys(settings)
    made = None if keys else new_key()
    ring = KeyRing.from_keys(keys if made is None else {made: settings.tenant})
    # What can be wrong is found before the seconds that starting takes.
    checkpoints.find(settings.checkpoint, root=settings.checkpoints)
    # Ray copies settings and environment to every process of the cluster, which need no key: they know the hashes.
    os.environ.pop("HYPERNET_API_KEYS", None)
    settings = settings.model_copy(
        update={"port": bound_port(settings.host, settings.port), "api_keys": None, "api_keys_file": None}
    )
    stop = _Stop()
    stop.install()
    cluster = LocalCluster(settings)
    try:
        with working("starting Ray and loading the model: some 20 seconds", quiet=as_json):
            cluster.start()
            # Ray has put a handler of its own in place.
            stop.install()
            # Not before: it imports Ray, which reads the environment that the cluster has set up.
            from serving.deployment import build

            cluster.run(build(settings, keys=ring, report_to=cluster.folder))
        stop.serving = True
        _announce(settings, made, as_json=as_json)
        while not stop.wait(_POLL_S):
            sys.stderr.write(cluster.new_log_lines())
        with working("stopping", quiet=as_json):
            cluster.drain(settings.shutdown_timeout_s)
    finally:
        stop.ignore_further()
        cluster.stop()


class _Stop:
    """Ctrl-C and SIGTERM: while the service runs they ask it to end in order, before and after that they end it."""

    def __init__(self) -> None:
        self.serving = False
        self._asked = threading.Event()

    def install(self) -> None:
        """Takes the signals over."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def ignore_further(self) -> None:
        """What is being ended shall not be interrupted."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)

    def wait(self, seconds: float) -> bool:
        """Whether the service was asked to end, after at most `seconds`."""
        return self._asked.wait(seconds)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self.serving or self._asked.is_set():
            raise KeyboardInterrupt
        self._asked.set()


def _announce(settings: "Settings", made: str | None, *, as_json: bool) -> None:
    """Says where the service is and how to call it; `made` is the key that this run made up, if it did."""
    from hypernet.cli.output import print_json

    model = settings.checkpoint.partition("/")[0]
    shown = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104
    url = f"http://{f'[{shown}]' if ':' in shown else shown}:{settings.port}"
    if as_json:
        print_json({"url": url, "docs": f"{url}/docs", "key": made, "model": model})
        return
    origin = "made for this run; set HYPERNET_API_KEYS for lasting ones"
    chat = f'{{"model": "{model}:ada", "messages": [{{"role": "user", "content": "Where do you live?"}}]}}'
    lines = [
        "",
        f"  hypernet serves {settings.checkpoint} at {url}",
        f"  API   {url}/docs",
        f"  key   {f'{made}  ({origin})' if made else 'those configured'}",
        f"  data  {settings.store_url or settings.store_dir}",
        "",
        "  In another terminal:",
        "",
        f"  KEY={made or '...'}",
        f'  curl -X PUT {url}/v1/users/ada/adapter -H "Authorization: Bearer $KEY" \\',
        "       -H 'Content-Type: text/markdown' --data-binary @examples/profiles/ada.md",
        f'  curl {url}/v1/chat/completions -H "Authorization: Bearer $KEY" \\',
        f"       -H 'Content-Type: application/json' -d '{chat}'",
        "",
        "  Ctrl-C stops the service.",
        "",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
