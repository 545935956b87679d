"""The adapter: a value with one sequence of bytes, hence one identity."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hypernet.adapters import peft_folder, tensor_file
from hypernet.adapters.pair_checks import check_pairs
from hypernet.adapters.provenance import UNKNOWN, Provenance
from hypernet.adapters.tensor_file import TensorFile
from hypernet.errors import AdapterInvalid

_METADATA_KEY = "hypernet"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LoraPair:
    """What an adapter adds to one linear layer: `scaling * b @ a` to its weight `[d_out, d_in]`."""

    a: Float[Tensor, "rank d_in"]
    b: Float[Tensor, "d_out rank"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Adapter:
    """LoRA pairs for named linear layers of one base model; a value, never changed after it is made.

    Its identity is `digest`; two adapters with the same digest do the same. Whoever hands one over has detached its
    tensors; `validate` says whether they are sound.
    """

    modules: Mapping[str, LoraPair] = field(repr=False)
    """By full module name, as in `model.layers.0.mlp.down_proj`."""
    rank: int
    scaling: float
    """What `b @ a` is multiplied by at run time; 1.0 in a folded adapter."""
    provenance: Provenance

    @cached_property
    def target_modules(self) -> tuple[str, ...]:
        """The last parts of the module names, sorted, each once: `("down_proj",)`."""
        return tuple(sorted({name.rpartition(".")[2] for name in self.modules}))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical bytes, 64 hexadecimal digits: the adapter's identity everywhere."""
        return hashlib.sha256(self.canonical_bytes()).hexdigest()

    @cached_property
    def size_bytes(self) -> int:
        """Length of the canonical bytes."""
        numbers = sum(pair.a.numel() + pair.b.numel() for pair in self.modules.values())
        return len(self._canonical_header()) + 4 * numbers

    def folded(self) -> "Adapter":
        """The same update of the weights with `scaling` 1.0, in float32: the scaling is multiplied into every B."""
        if self.scaling == 1.0 and all(pair.a.dtype == pair.b.dtype == torch.float32 for pair in self.modules.values()):
            return self
        return replace(
            self,
            scaling=1.0,
            modules={
                name: LoraPair(a=pair.a.float(), b=pair.b.float() * self.scaling) for name, pair in self.modules.items()
            },
        )

    def canonical_bytes(self) -> bytes:
        """The `adapter_model.safetensors` of this adapter: folded, float32, keys as PEFT names them, provenance inside.

        Equal adapters give equal bytes, whatever the machine, process or library version. Raises: `AdapterInvalid` for
        so many modules that no reader would take the file.
        """
        tensors = {}
        for name, pair in self.folded().modules.items():
            tensors[peft_folder.key_a(name)] = pair.a
            tensors[peft_folder.key_b(name)] = pair.b
        return tensor_file.encode(tensors, metadata=self._metadata())

    @classmethod
    def from_canonical_bytes(cls, data: bytes) -> "Adapter":
        """The adapter whose canonical bytes these are; `digest` is then the SHA-256 of `data`.

        Raises: `AdapterInvalid` for bytes that are corrupt, cut short, not finite, of wrong shapes, or merely not
        canonical (another tool's safetensors file: load its PEFT folder with `load`).
        """
        file = tensor_file.decode(data)
        adapter = cls._from_file(file, scaling=1.0, provenance=_provenance(file))
        # The header fixes everything but the values of the tensors, and those are the bytes that follow it.
        if not data.startswith(adapter._canonical_header()):
            raise AdapterInvalid("The adapter file is sound but not in canonical form; load it as a PEFT folder.")
        adapter.__dict__["digest"] = hashlib.sha256(data).hexdigest()
        return adapter

    @classmethod
    def from_vouched_bytes(cls, data: bytearray, *, digest: str) -> "Adapter":
        """As `from_canonical_bytes`, in a tenth of the time, where the caller vouches for what it would find out.

        That is: that these bytes are what `canonical_bytes` made of an adapter that `validate` had found sound, and
        that this is their digest. They are given away: the tensors lie in them. Raises: `AdapterInvalid` where they
        cannot be read at all.
        """
        file = tensor_file.decode_encoded(data)
        modules = {name: LoraPair(a=a, b=b) for name, (a, b) in peft_folder.pairs(file.tensors).items()}
        rank = next(iter(modules.values())).a.shape[0]
        adapter = cls(modules=modules, rank=rank, scaling=1.0, provenance=_provenance(file))
        adapter.__dict__["digest"] = digest
        return adapter

    def save(self, folder: Path | str) -> None:
        """Writes a PEFT folder that `PeftModel.from_pretrained` and vLLM load as it is; the whole folder or nothing.

        An adapter that is already there is replaced. Raises: `Conflict` where the folder holds anything else, `OSError`
        where it cannot be written.
        """
        peft_folder.write(Path(folder), self.peft_files())

    def peft_files(self) -> dict[str, bytes]:
        """The files of the PEFT folder, by name."""
        config = peft_folder.config_json(self.modules, rank=self.rank, base_model=self.provenance.base_model)
        return {peft_folder.CONFIG_NAME: config, peft_folder.WEIGHTS_NAME: self.canonical_bytes()}

    def to_zip(self) -> bytes:
        """The PEFT folder as a zip archive with its files at the root; equal adapters give equal bytes."""
        return peft_folder.to_zip(self.peft_files())

    @classmethod
    def load(cls, folder: Path | str, *, provenance: Provenance | None = None) -> "Adapter":
        """Reads a PEFT folder, ours or another tool's, and returns it folded and validated.

        `provenance` is for another tool's folder, which has none: what the caller vouches for. Without it the base
        model's digest is `UNKNOWN`. In a folder of ours it changes nothing.

        Raises: `AdapterInvalid` for missing, corrupt or unsupported content; unsupported features are named.
        """
        config, data = peft_folder.read(Path(folder))
        file = tensor_file.decode(data)
        scaling = peft_folder.scaling(config)
        if _METADATA_KEY in file.metadata:
            provenance = _provenance(file)
        elif provenance is None:
            provenance = _foreign_provenance(config)
        adapter = cls._from_file(file, scaling=scaling, provenance=provenance)
        peft_folder.check_agrees(config, rank=adapter.rank, modules=adapter.modules)
        return adapter.folded()

    @classmethod
    def _from_file(cls, file: TensorFile, *, scaling: float, provenance: Provenance) -> "Adapter":
        pairs = peft_folder.pairs(file.tensors)
        # Checked before the values are made, so that a wrong shape is this project's error and not a type checker's.
        rank = check_pairs(pairs, scaling=scaling)
        modules = {name: LoraPair(a=a, b=b) for name, (a, b) in pairs.items()}
        return cls(modules=modules, rank=rank, scaling=scaling, provenance=provenance)

    def _metadata(self) -> dict[str, str]:
        return {"format": "pt", _METADATA_KEY: self.provenance.to_json()}

    def _canonical_header(self) -> bytes:
        shapes = {}
        for name, pair in self.modules.items():
            shapes[peft_folder.key_a(name)] = list(pair.a.shape)
            shapes[peft_folder.key_b(name)] = list(pair.b.shape)
        return tensor_file.canonical_header(shapes, metadata=self._metadata())


def _provenance(file: TensorFile) -> Provenance:
    if _METADATA_KEY not in file.metadata:
        raise AdapterInvalid("The adapter file carries no provenance: it was written by another tool.")
    return Provenance.from_json(file.metadata[_METADATA_KEY])


def _foreign_provenance(config: Mapping[str, Any]) -> Provenance:
    base_model = config.get("base_model_name_or_path")
    return Provenance(
        base_model=base_model if isinstance(base_model, str) else UNKNOWN,
        base_model_digest=UNKNOWN,
        hypernetwork=UNKNOWN,
        hypernetwork_digest=UNKNOWN,
        document_digest=UNKNOWN,
        options={},
    )
