"""Released hypernetworks on disk: a manifest, written last, and the weights that it vouches for."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load as parse_safetensors
from safetensors.torch import save as serialise_safetensors

from hypernet.durable_files import replace_file, sync_folder
from hypernet.errors import CheckpointInvalid, CheckpointNotFound
from hypernet.hypernetworks.perceiver import PerceiverConfig, PerceiverHypernetwork

FORMAT_VERSION = 1
ARCHITECTURE = "perceiver"
WEIGHTS_FILE, MANIFEST_FILE = "hypernetwork.safetensors", "manifest.json"

_FIELD_TYPES: Mapping[str, type] = {
    "config": dict,
    "target_modules": list,
    "base_model": str,
    "base_model_digest": str,
    "max_document_tokens": int,
    "weights_digest": str,
    "training": dict,
}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a released hypernetwork is.

    Attributes:
        config: its sizes and target modules.
        target_modules: last parts of the target modules' names.
        base_model: name of the base model that it was trained for.
        base_model_digest: revision of that base model; it serves no other.
        max_document_tokens: the longest document that it reads, in tokens, chat markup included.
        weights_digest: SHA-256 of the weights file.
        training: how it came to be, for people: data sets with licences, steps, scores.
    """

    config: PerceiverConfig
    target_modules: tuple[str, ...]
    base_model: str
    base_model_digest: str
    max_document_tokens: int
    weights_digest: str
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 over everything that decides which adapter a document gives: the hypernetwork's identity."""
        deciding = {key: value for key, value in self.to_dict().items() if key not in ("training", "base_model")}
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """The manifest as JSON values."""
        return {
            "format_version": FORMAT_VERSION,
            "architecture": ARCHITECTURE,
            "config": asdict(self.config) | {"modules": list(self.config.modules)},
            "target_modules": list(self.target_modules),
            "base_model": self.base_model,
            "base_model_digest": self.base_model_digest,
            "max_document_tokens": self.max_document_tokens,
            "weights_digest": self.weights_digest,
            "training": dict(self.training),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Manifest":
        """The manifest from JSON values. Raises `CheckpointInvalid` for a format or architecture it does not know."""
        version, architecture = values.get("format_version"), values.get("architecture")
        if version != FORMAT_VERSION or architecture != ARCHITECTURE:
            raise CheckpointInvalid(
                f"Expected a {ARCHITECTURE} checkpoint of format {FORMAT_VERSION}, got {architecture!r} of format "
                f"{version!r}. Use a release of this project that knows it."
            )
        given = {name: values[name] for name in (f.name for f in fields(cls))}
        for name, kind in _FIELD_TYPES.items():
            if type(given[name]) is not kind:
                raise TypeError(f"{name} must be {kind.__name__}, not {type(given[name]).__name__}")
        given["config"] = PerceiverConfig(**given["config"] | {"modules": tuple(given["config"]["modules"])})
        return cls(**given | {"target_modules": tuple(given["target_modules"])})


def save_checkpoint(
    hypernetwork: PerceiverHypernetwork,
    folder: Path,
    *,
    target_modules: tuple[str, ...],
    base_model: str,
    base_model_digest: str,
    max_document_tokens: int,
    training: Mapping[str, Any],
) -> Manifest:
    """Write ``hypernetwork`` to ``folder``, float32; the manifest comes last, so an interrupted write is not a
    checkpoint.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST_FILE).unlink(missing_ok=True)
    state = {name: tensor.detach().float().cpu().contiguous() for name, tensor in hypernetwork.state_dict().items()}
    weights = serialise_safetensors(state)
    manifest = Manifest(
        config=hypernetwork.config,
        target_modules=target_modules,
        base_model=base_model,
        base_model_digest=base_model_digest,
        max_document_tokens=max_document_tokens,
        weights_digest=hashlib.sha256(weights).hexdigest(),
        training=training,
    )
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


def load_checkpoint(folder: Path, *, device: str | torch.device = "cpu") -> tuple[PerceiverHypernetwork, Manifest]:
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
        hypernetwork = PerceiverHypernetwork(manifest.config)
        hypernetwork.load_state_dict(parse_safetensors(weights))
    # Sizes that no module has, or that no machine has room for, are as wrong as those that the weights do not have.
    except (RuntimeError, ValueError, TypeError, safetensors.SafetensorError) as error:
        raise CheckpointInvalid(f"{folder / WEIGHTS_FILE} does not fit its manifest: {error}") from error
    for name, parameter in hypernetwork.named_parameters():
        if not torch.isfinite(parameter).all():
            raise CheckpointInvalid(f"{folder / WEIGHTS_FILE} holds values that are not finite, in {name}.")
    return hypernetwork.to(device).eval().requires_grad_(False), manifest


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except FileNotFoundError:
        raise CheckpointInvalid(f"The hypernetwork folder {folder} lacks {name}. Copy the checkpoint again.") from None
    except OSError as error:
        raise CheckpointInvalid(f"{folder / name} cannot be read ({error.strerror}). Copy it again.") from None
