"""`hypernet doctor`: what is installed, which checkpoints are found, and whether they match."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hypernet import checkpoints
from hypernet.checkpoints import CheckpointPaths
from hypernet.cli.output import print_fields, print_json, print_table, working
from hypernet.errors import HypernetError
from hypernet.hypernetworks import read_manifest
from hypernet.models.base_model import checkpoint_digest
from hypernet.settings import Settings, usable_cores

PACKAGES = (
    "hypernet",
    "torch",
    "transformers",
    "peft",
    "lightning",
    "ray",
    "fastapi",
    "safetensors",
    "pydantic",
    "openai",
)
_OPTIONAL = frozenset({"openai"})


def report(settings: Settings, *, as_json: bool) -> bool:
    """Prints what `examine` finds; whether all is well."""
    with working("looking", quiet=as_json):
        found = examine(settings)
    if as_json:
        print_json(found)
    else:
        print_fields(
            {
                "python": found["python"],
                "platform": found["platform"],
                "cores": found["cores"],
                "checkpoints in": found["checkpoints_root"],
                "store": f"{found['store']['place']} ({found['store']['status']})",
            }
        )
        print_table(
            ["package", "version"], [[name, number or "not installed"] for name, number in found["packages"].items()]
        )
        print_table(
            ["checkpoint", "base model", "hypernetwork", "status"],
            [
                [entry["name"], _short(entry["base_digest"]), _short(entry["trained_for"]), entry["status"]]
                for entry in found["checkpoints"]
            ],
        )
        if tried := found["store"]["tried"]:
            print_table(
                ["bucket", "promise", ""],
                [[entry["bucket"], entry["promise"], "kept" if entry["kept"] else "BROKEN"] for entry in tried],
            )
        for problem in found["problems"]:
            print_fields({"problem": problem})
        if not found["problems"]:
            print_fields({"all well": "hypernet serve starts the service"})
    return not found["problems"]


def examine(settings: Settings) -> dict[str, Any]:
    """The report: versions (None where missing), checkpoints, store, and a list of problems, each with what to do."""
    packages = {name: _version(name) for name in PACKAGES}
    problems = [
        f"The package {name} is not installed; install the project again."
        for name, found in packages.items()
        if found is None and name not in _OPTIONAL
    ]
    root = settings.checkpoints or checkpoints.checkpoints_root()
    names = checkpoints.available(root=root)
    if settings.checkpoint.removesuffix(f"/{checkpoints.DEFAULT_FOLDER}") not in names:
        problems.append(f"The checkpoint {settings.checkpoint!r} is not in {root}; set HYPERNET_CHECKPOINTS.")
    found = [_checkpoint(checkpoints.find(name, root=root)) for name in names]
    problems += [f"Checkpoint {entry['name']}: {entry['status']}" for entry in found if entry["status"] != "ok"]
    store = _folder(settings.store_dir) if settings.store_url is None else _buckets(settings)
    if store["status"] != "ok":
        problems.append(f"The store {store['place']} is {store['status']}; {store['remedy']}")
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "cores": usable_cores(),
        "packages": packages,
        "checkpoints_root": str(root),
        "checkpoints": found,
        "store": store,
        "problems": problems,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _checkpoint(paths: CheckpointPaths) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": paths.name, "base_digest": None, "trained_for": None, "status": "ok"}
    try:
        entry["base_digest"] = checkpoint_digest(paths.base)
        entry["trained_for"] = read_manifest(paths.hypernetwork).base_model_digest
    except HypernetError as error:
        entry["status"] = error.message
    else:
        if entry["base_digest"] != entry["trained_for"]:
            entry["status"] = "the hypernetwork was trained for another base model; copy the checkpoint again."
    return entry


def _folder(folder: Path) -> dict[str, Any]:
    parent = folder
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    writable = parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)
    status = "ok" if writable else "not writable"
    return {"place": str(folder), "status": status, "remedy": "set HYPERNET_STORE_DIR.", "tried": []}


def _buckets(settings: Settings) -> dict[str, Any]:
    """What the servers of a store in buckets do about the conditions that it stands on."""
    from hypernet.storage.opening import bucket, keys_url
    from hypernet.storage.probe import probe

    tried: list[dict[str, Any]] = []
    found = {"place": settings.store_url, "status": "ok", "remedy": "", "tried": tried}
    for url in (str(settings.store_url), keys_url(settings)):
        try:
            objects = bucket(settings, url)
            try:
                objects.check()
                tried += [{"bucket": url, "promise": entry.name, "kept": entry.kept} for entry in probe(objects)]
            finally:
                objects.close()
        except HypernetError as error:
            return found | {"status": "not usable", "remedy": error.message}
    if not all(entry["kept"] for entry in tried):
        found |= {
            "status": "not fit to hold a store",
            "remedy": "use a server that keeps what the table says it breaks.",
        }
    return found


def _short(digest: str | None) -> str:
    return digest[:12] if digest else "-"
