"""Released hypernetworks on disk: a manifest, written last, and the weights that it vouches for."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import safetensors
import torch
from safetensors.torch import load as parse_safetensors
from safetensors.torch import save as serialise_safetensors

from hypernet.durable_files import replace_file, sync_folder
from hypernet.errors import CheckpointInvalid, CheckpointNotFound
from hypernet.hypernetworks.hypernetwork import Hypernetwork, HypernetworkConfig
from hypernet.hypernetworks.registry import architecture_of, find_architecture

FORMAT_VERSION = 2
WEIGHTS_FILE, MANIFEST_FILE = "hypernetwork.safetensors", "manifest.json"

MAX_STRENGTH = 2.0
"""The greatest strength: twice as trained. Beyond it no adapter was found to do anything but harm."""

_FIELD_TYPES: Mapping[str, type] = {
    "architecture": str,
    "config": dict,
    "target_modules": list,
    "base_model": str,
    "base_model_digest": str,
    "max_document_tokens": int,
    "chunk_tokens": int,
    "trained_chunks": int,
    "max_rank": int,
    "strength": float,
    "weights_digest": str,
    "training": dict,
}
# What does not decide which adapter a document gives.
_DESCRIBING = frozenset({"training", "base_model", "max_document_tokens", "trained_chunks"})


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a released hypernetwork is.

    Attributes:
        architecture: name of its architecture, as registered.
        config: its sizes and target modules, of that architecture's own class.
        target_modules: last parts of the target modules' names.
        base_model: name of the base model that it was trained for.
        base_model_digest: revision of that base model; it serves no other.
        max_document_tokens: the longest document that a service should accept, in tokens, chat markup included.
        chunk_tokens: the longest chunk of a document that it reads at once, in tokens, chat markup included.
        trained_chunks: the most chunks that a document had in training.
        max_rank: the most ranks that an adapter keeps; one of more chunks than fit is compressed to it.
        strength: what B is multiplied by where nobody asks for another, between 0 and `MAX_STRENGTH`; 1 is as trained.
        weights_digest: SHA-256 of the weights file.
        training: how it came to be, for people: data sets with licences, steps, scores.
    """

    architecture: str
    config: HypernetworkConfig
    target_modules: tuple[str, ...]
    base_model: str
    base_model_digest: str
    max_document_tokens: int
    chunk_tokens: int
    trained_chunks: int
    max_rank: int
    strength: float
    weights_digest: str
    training: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises `ValueError` for numbers that no generator can work with."""
        if min(self.chunk_tokens, self.max_document_tokens, self.trained_chunks) < 1:
            raise ValueError("chunk_tokens, max_document_tokens and trained_chunks must be at least 1")
        if self.max_rank < self.config.total_rank:
            raise ValueError(f"max_rank must be at least {self.config.total_rank}, the rank of a document of one chunk")
        if not 0 <= self.strength <= MAX_STRENGTH:
            raise ValueError(f"strength must be between 0 and {MAX_STRENGTH:g}, it is {self.strength}")

    @property
    def digest(self) -> str:
        """SHA-256 over everything that decides which adapter a document gives: the hypernetwork's identity."""
        deciding = {key: value for key, value in self.to_dict().items() if key not in _DESCRIBING}
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """The manifest as JSON values."""
        values = {name: getattr(self, name) for name in _FIELD_TYPES}
        return (
            {"format_version": FORMAT_VERSION}
            | values
            | {
                "config": {name: _as_json(value) for name, value in asdict(self.config).items()},
                "target_modules": list(self.target_modules),
                "strength": float(self.strength),
                "training": dict(self.training),
            }
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Manifest":
        """The manifest from JSON values. Raises `CheckpointInvalid` for a format or architecture it does not know."""
        version = values.get("format_version")
        if version != FORMAT_VERSION:
            raise CheckpointInvalid(
                f"Expected a checkpoint of format {FORMAT_VERSION}, got format {version!r}. Use a release of this "
                "project that knows it."
            )
        given = {name: values[name] for name in (f.name for f in fields(cls))}
        for name, kind in _FIELD_TYPES.items():
            if type(given[name]) is not kind:
                raise TypeError(f"{name} must be {kind.__name__}, not {type(given[name]).__name__}")
        config = {name: _from_json(value) for name, value in given["config"].items()}
        given["config"] = find_architecture(given["architecture"]).config(**config)
        return cls(**given | {"target_modules": tuple(given["target_modules"])})


@runtime_checkable
class Attaching(Protocol):
    """A hypernetwork that needs more than its own file: a sentence encoder, another hypernetwork."""

    def attach(self, folder: Path, *, device: str | torch.device) -> None:
        """Brings in what it needs; `folder` is its own. Raises `CheckpointError`. Called once, after the weights."""


def save_checkpoint(
    hypernetwork: Hypernetwork,
    folder: Path,
    *,
    target_modules: tuple[str, ...],
    base_model: str,
    base_model_digest: str,
    max_document_tokens: int,
    chunk_tokens: int,
    trained_chunks: int,
    strength: float,
    training: Mapping[str, Any],
    max_rank: int | None = None,
) -> Manifest:
    """Write ``hypernetwork`` to ``folder``, float32; the manifest comes last, so an interrupted write is not a
    checkpoint.

    The arguments are the fields of `Manifest`. By default ``max_rank`` has room for two chunks and the common ranks.
    Raises `ValueError` for numbers that make no manifest and for a class that is not registered.
    """
    config = hypernetwork.config
    state = {name: tensor.detach().float().cpu().contiguous() for name, tensor in hypernetwork.state_dict().items()}
    weights = serialise_safetensors(state)
    manifest = Manifest(
        architecture=architecture_of(hypernetwork).name,
        config=config,
        target_modules=target_modules,
        base_model=base_model,
        base_model_digest=base_model_digest,
        max_document_tokens=max_document_tokens,
        chunk_tokens=chunk_tokens,
        trained_chunks=trained_chunks,
        max_rank=2 * config.rank + config.bias_rank if max_rank is None else max_rank,
        strength=strength,
        weights_digest=hashlib.sha256(weights).hexdigest(),
        training=training,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST_FILE).unlink(missing_ok=True)
    replace_file(folder / WEIGHTS_FILE, weights)
    replace_file(folder / MANIFEST_FILE, (json.dumps(manifest.to_dict(), indent=2) + "\n").encode())
    sync_folder(folder)
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """The manifest in ``folder``.

    Raises:
        CheckpointNotFound: there is no such folder.
        CheckpointInvalid: the file is missing, is not JSON, or does not hold what it must.
    """
    if not folder.is_dir():
        raise CheckpointNotFound(f"Expected a hypernetwork in the folder {folder}, which does not exist.")
    content = _read(folder, MANIFEST_FILE)
    try:
        return Manifest.from_dict(json.loads(content))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointInvalid(
            f"The manifest in {folder} cannot be read ({type(error).__name__}: {error}). Copy the checkpoint again."
        ) from error


def load_checkpoint(folder: Path, *, device: str | torch.device = "cpu") -> tuple[Hypernetwork, Manifest]:
    """The hypernetwork in ``folder``, frozen and in evaluation mode, and its manifest.

    Raises:
        CheckpointNotFound: there is no such folder.
        CheckpointInvalid: a file is missing, corrupt, or not what the manifest vouches for; the file is named.
    """
    manifest = read_manifest(folder)
    weights = _read(folder, WEIGHTS_FILE)
    found = hashlib.sha256(weights).hexdigest()
    if found != manifest.weights_digest:
        raise CheckpointInvalid(
            f"{folder / WEIGHTS_FILE} has SHA-256 {found[:16]}…, its manifest says {manifest.weights_digest[:16]}…. "
            "Copy the checkpoint again."
        )
    try:
        hypernetwork = find_architecture(manifest.architecture).hypernetwork(manifest.config)
        hypernetwork.load_state_dict(parse_safetensors(weights))
    # Sizes that no module has, or that no machine has room for, are as wrong as those that the weights do not have.
    except (RuntimeError, ValueError, TypeError, safetensors.SafetensorError) as error:
        raise CheckpointInvalid(f"{folder / WEIGHTS_FILE} does not fit its manifest: {error}") from error
    for name, parameter in hypernetwork.named_parameters():
        if not torch.isfinite(parameter).all():
            raise CheckpointInvalid(f"{folder / WEIGHTS_FILE} holds values that are not finite, in {name}.")
    hypernetwork.to(device).eval().requires_grad_(False)
    if isinstance(hypernetwork, Attaching):
        hypernetwork.attach(folder, device=device)
    return hypernetwork, manifest


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except FileNotFoundError:
        raise CheckpointInvalid(f"The hypernetwork folder {folder} lacks {name}. Copy the checkpoint again.") from None
    except OSError as error:
        raise CheckpointInvalid(f"{folder / name} cannot be read ({error.strerror}). Copy it again.") from None


def _as_json(value: Any) -> Any:
    return [_as_json(part) for part in value] if isinstance(value, tuple) else value


def _from_json(value: Any) -> Any:
    return tuple(_from_json(part) for part in value) if isinstance(value, list) else value
