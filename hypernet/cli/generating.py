"""`hypernet generate`: documents into an adapter."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypernet import checkpoints
from hypernet.cli.exporting import write_adapter
from hypernet.cli.local_store import local_store
from hypernet.cli.output import print_fields, print_json, working
from hypernet.documents import Document
from hypernet.errors import InvalidRequest
from hypernet.generators import Generator
from hypernet.hypernetworks import import_architectures
from hypernet.settings import Settings
from hypernet.storage import TenantScope

STANDARD_INPUT = "-"
"""The file name that stands for it."""


def generate_adapter(
    settings: Settings,
    documents: Sequence[Path],
    *,
    user: str | None,
    out: Path | None,
    strength: float | None,
    as_json: bool,
) -> None:
    """Makes one adapter of all documents, stores it for `user` or writes it to `out`, and prints what it is.

    Raises `HypernetError`.
    """
    if user is None and out is None:
        raise InvalidRequest("Say where the adapter goes: --user NAME stores it, --out FOLDER writes it.")
    # What is wrong with the name or the document shows before the model is loaded.
    key = TenantScope(settings.tenant).user(user) if user is not None else None
    if list(map(str, documents)).count(STANDARD_INPUT) > 1:
        raise InvalidRequest("Standard input is one document; name it once.")
    sources = [read_document(path) for path in documents]
    with working(f"loading {settings.checkpoint}", quiet=as_json):
        paths = checkpoints.find(settings.checkpoint, root=settings.checkpoints)
        import_architectures(settings.architectures)
        generator = Generator.from_checkpoint(
            paths, device=settings.device, max_document_tokens=settings.max_document_tokens
        )
    with working("generating", quiet=as_json):
        generation = generator.generate(sources, strength=strength)
    adapter, timings = generation.adapter, generation.timings
    report: dict[str, Any] = {
        "digest": adapter.digest,
        "rank": adapter.rank,
        "chunks": generation.chunks,
        "strength": generation.strength,
        "size_bytes": adapter.size_bytes,
        "document_tokens": generation.document_tokens,
        "timings_ms": {
            "encode": round(timings.encode_ms, 1),
            "generate": round(timings.generate_ms, 1),
            "serialise": round(timings.serialise_ms, 1),
        },
    }
    if key is not None:
        with local_store(settings) as (store, _):
            start = time.perf_counter()
            stored = store.put(key, adapter)
            report["timings_ms"]["store"] = round((time.perf_counter() - start) * 1e3, 1)
        report |= {"user": user, "version": stored.version}
    if out is not None:
        write_adapter(adapter, out)
        report["folder"] = str(out)
    if as_json:
        print_json(report)
        return
    times = report.pop("timings_ms")
    print_fields({**report, **{f"{stage} ms": value for stage, value in times.items()}})


def read_document(path: Path) -> Document:
    """The document in a file, or on standard input for `-`; raises `DocumentError`, `InvalidRequest`."""
    try:
        data = sys.stdin.buffer.read() if str(path) == STANDARD_INPUT else path.read_bytes()
    except OSError as error:
        raise InvalidRequest(f"Cannot read the document {path}: {error.strerror}.") from error
    return Document.from_bytes(data, source="markdown" if path.suffix.lower() == ".md" else "text")
