"""An adapter on disk as PEFT writes and reads it: a folder with `adapter_config.json` and `adapter_model.safetensors`.

vLLM reads the same two files; of the configuration it requires `r`, `lora_alpha` and `target_modules` and refuses
`modules_to_save` and `use_dora`, and its tensor names are those here.
"""

import io
import json
import math
import shutil
import tempfile
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from hypernet.adapters.tensor_file import read_json_object
from hypernet.durable_files import replace_file, sync_folder
from hypernet.errors import AdapterInvalid, Conflict

CONFIG_NAME = "adapter_config.json"
WEIGHTS_NAME = "adapter_model.safetensors"

_PREFIX = "base_model.model."
_SUFFIX_A = ".lora_A.weight"
_SUFFIX_B = ".lora_B.weight"
_MAX_CONFIG_BYTES = 1 << 20
_MAX_WEIGHTS_BYTES = 1 << 32
_MAX_RANK = 1 << 16
_MAX_ALPHA = 1e9

# How another tool's configuration is read. Anything not named here has to be empty, so that a feature this release has
# never heard of is refused by its name instead of being ignored.
_READ = {"peft_type", "bias", "init_lora_weights", "r", "lora_alpha", "use_rslora"}
_HARMLESS = {
    # what the tensors themselves say
    "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "fan_in_fan_out",
    # where it came from
    "task_type", "auto_mapping", "base_model_name_or_path", "revision", "peft_version", "inference_mode",
    # training only
    "lora_dropout", "eva_config", "megatron_core", "qalora_group_size", "runtime_config",
}  # fmt: skip
# The other initialisations (pissa, olora, corda, loftq and so on) also change the base model's weights, and an adapter
# trained that way is wrong on the model it names.
_PLAIN_INITIALISATIONS = (True, False, None, "gaussian", "eva", "orthogonal")


def key_a(module: str) -> str:
    """The tensor name of a module's A."""
    return f"{_PREFIX}{module}{_SUFFIX_A}"


def key_b(module: str) -> str:
    """The tensor name of a module's B."""
    return f"{_PREFIX}{module}{_SUFFIX_B}"


def pairs(tensors: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """A and B by module name. Raises: `AdapterInvalid` for a tensor that is neither, or one without the other."""
    found: dict[str, dict[str, Tensor]] = {_SUFFIX_A: {}, _SUFFIX_B: {}}
    for key, tensor in tensors.items():
        suffix = _SUFFIX_A if key.endswith(_SUFFIX_A) else _SUFFIX_B
        if not key.startswith(_PREFIX) or not key.endswith(suffix):
            raise AdapterInvalid(
                f"The adapter holds a tensor {key[:120]!r}; only LoRA pairs of linear layers are supported."
            )
        found[suffix][key[len(_PREFIX) : -len(suffix)]] = tensor
    all_a, all_b = found[_SUFFIX_A], found[_SUFFIX_B]
    for name in sorted(all_a.keys() ^ all_b.keys()):
        raise AdapterInvalid(f"Module {name[:120]!r} of the adapter has only one of its two tensors A and B.")
    return {name: (all_a[name], all_b[name]) for name in sorted(all_a)}


def config_json(modules: Collection[str], *, rank: int, base_model: str) -> bytes:
    """The `adapter_config.json` of a folded adapter.

    `target_modules` lists full module names: the last parts alone would also match layers that the adapter leaves out,
    which PEFT would then fill with random numbers under a warning.
    """
    config: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model,
        "revision": None,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": rank,
        "use_rslora": False,
        "use_dora": False,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "modules_to_save": None,
        "rank_pattern": {},
        "alpha_pattern": {},
        "target_modules": sorted(modules),
    }
    return (json.dumps(config, indent=2, sort_keys=True) + "\n").encode()


def scaling(config: Mapping[str, Any]) -> float:
    """What PEFT would multiply `b @ a` by. Raises: `AdapterInvalid`, naming any feature that is not supported."""
    for name, expected in (("peft_type", "LORA"), ("bias", "none")):
        found = config.get(name, None if name == "peft_type" else expected)
        if found != expected:
            raise AdapterInvalid(f"The adapter's {name} must be {expected!r}; {str(found)[:40]!r} is not supported.")
    if config.get("init_lora_weights") not in _PLAIN_INITIALISATIONS:
        raise AdapterInvalid(
            f"An adapter with init_lora_weights {str(config['init_lora_weights'])[:40]!r} needs a changed base model; "
            "convert it to a plain LoRA first."
        )
    for name in sorted(config.keys() - _READ - _HARMLESS):
        if config[name]:
            raise AdapterInvalid(f"The adapter uses {name[:40]!r}, which is not supported; only plain LoRA is.")
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if type(rank) is not int or not 1 <= rank <= _MAX_RANK:
        raise AdapterInvalid(f"The adapter's configuration must give r from 1 to {_MAX_RANK}, not {str(rank)[:40]!r}.")
    if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not abs(alpha) <= _MAX_ALPHA:
        raise AdapterInvalid(f"The adapter's configuration must give lora_alpha as a number, not {str(alpha)[:40]!r}.")
    # Source: PEFT LoraConfig.use_rslora; Kalajdzievski 2023, arXiv 2312.03732, section 3.
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)


def check_agrees(config: Mapping[str, Any], *, rank: int, modules: Collection[str]) -> None:
    """Returns if the configuration speaks of the tensors that are there. Raises: `AdapterInvalid`."""
    if config["r"] != rank:
        raise AdapterInvalid(f"The adapter's configuration says rank {config['r']}, its tensors have rank {rank}.")
    targets = config.get("target_modules")
    if not isinstance(targets, list):
        # A pattern, which only the base model's own list of modules could be held against.
        return
    names = {target for target in targets if isinstance(target, str)}
    for module in modules:
        parts = module.split(".")
        if not any(".".join(parts[start:]) in names for start in range(len(parts))):
            raise AdapterInvalid(f"The adapter's target_modules leave out {module!r}, for which it has tensors.")


def read(folder: Path) -> tuple[dict[str, Any], bytes]:
    """Configuration and weights file of a PEFT folder. Raises: `AdapterInvalid` naming a missing or oversized file."""
    config = read_json_object(_read_file(folder / CONFIG_NAME, limit=_MAX_CONFIG_BYTES), what=CONFIG_NAME)
    return config, _read_file(folder / WEIGHTS_NAME, limit=_MAX_WEIGHTS_BYTES)


def _read_file(path: Path, *, limit: int) -> bytes:
    try:
        if path.stat().st_size > limit:
            raise AdapterInvalid(f"{path.name} is over {limit} bytes, more than any adapter needs.")
        return path.read_bytes()
    except OSError as error:
        raise AdapterInvalid(
            f"An adapter folder must hold {CONFIG_NAME} and {WEIGHTS_NAME}; {path} cannot be read ({error.strerror})."
        ) from None


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Makes `folder` hold exactly these files, and makes that durable.

    They are written beside it and moved into place in one step, so a folder that is there is whole. An adapter already
    there is moved aside first; a crash just then leaves both, whole, under hidden names beside it.

    Raises: `Conflict` where the folder holds anything but an adapter, `OSError` where it cannot be written.
    """
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists() and not (folder.is_dir() and {path.name for path in folder.iterdir()} <= files.keys()):
        raise Conflict(f"{folder} holds something other than an adapter; choose another folder.")
    staging = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        new, old = staging / "new", staging / "old"
        new.mkdir()
        for name, data in files.items():
            replace_file(new / name, data)
        sync_folder(new)
        if folder.exists():
            folder.rename(old)
        try:
            new.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def to_zip(files: Mapping[str, bytes]) -> bytes:
    """A zip archive of these files at its root; equal files give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression=zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            # Trained weights hardly compress, and compressed bytes differ between versions of zlib.
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, files[name])
    return buffer.getvalue()
