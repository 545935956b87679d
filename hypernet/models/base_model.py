"""The frozen causal language model together with its tokenizer."""

import threading
from collections.abc import Mapping, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, TypedDict

import torch
from jaxtyping import Bool, Float, Int
from jinja2 import TemplateError
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D

from hypernet.errors import AdapterMismatch, CheckpointInvalid, CheckpointNotFound, InvalidRequest, PromptTooLong
from hypernet.models.buckets import padded_length

IDENTITY_FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)
# Tokens of one forward pass over documents: enough to keep any machine busy, little enough for its memory.
_ENCODE_TOKENS = 8192
REQUIRED_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json")


class Message(TypedDict):
    """One turn of a conversation."""

    role: str
    content: str


class _LastLayerReached(BaseException):
    """Ends a forward pass once every layer's input is known. Not an `Exception`, so that no model swallows it."""


class BaseModel:
    """A causal LM in evaluation mode with frozen weights, its tokenizer, and the digest that names this very revision.

    Held: `close()` detaches what was attached to the module. Safe for use from several threads at once.
    """

    def __init__(
        self, module: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, name: str, digest: str = ""
    ) -> None:
        module.train(False)
        self.module = module.requires_grad_(False)
        self.tokenizer = tokenizer
        self.name = name
        self.digest = digest
        self.decoder: nn.Module = module.get_decoder()  # type: ignore[no-untyped-call]
        self.layers: nn.ModuleList = _decoder_layers(self.decoder)
        # Taken once: an installation wraps linears, and names must go on meaning the layers of the model as saved.
        self._linears: dict[str, nn.Module] = {
            str(path): part for path, part in self.module.named_modules() if isinstance(part, (nn.Linear, Conv1D))
        }
        self._entering = threading.local()
        self._hooks = [
            layer.register_forward_pre_hook(partial(self._note_entering, index), with_kwargs=True)
            for index, layer in enumerate(self.layers)
        ]

    @classmethod
    def load(
        cls, folder: Path, *, name: str | None = None, device: str | torch.device = "cpu", dtype: Any = None
    ) -> "BaseModel":
        """The base model saved in `folder` by `save_pretrained` of a model and its tokenizer. Safetensors only, and no
        code that the folder brings along is run.

        `dtype` None keeps the dtype of the files. Raises `CheckpointNotFound` for a missing folder and
        `CheckpointInvalid`, naming the file, for a missing or corrupt one.
        """
        folder = Path(folder)
        digest = checkpoint_digest(folder)
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                attn_implementation="sdpa",
                dtype="auto" if dtype is None else dtype,
                output_loading_info=True,
            )
        # Whatever a damaged file makes a parser raise (OSError, ValueError, KeyError, SafetensorError, a bare Exception
        # from the tokenizer's Rust code) means one thing to the caller.
        except Exception as error:
            raise CheckpointInvalid(
                f"The base model in {folder} cannot be read: {type(error).__name__}: {error}. Replace the damaged file."
            ) from error
        module, report = loaded
        wrong = {kind: sorted(map(str, keys)) for kind, keys in report.items() if keys}
        if wrong:
            # transformers would go on with random values in place of what is missing.
            raise CheckpointInvalid(
                f"The weights in {folder} do not fit its config.json: {wrong}. Save model and config together."
            )
        return cls(module.to(device), tokenizer, name=name or folder.name, digest=digest)

    @property
    def config(self) -> Any:
        """The text decoder's transformers configuration."""
        return self.module.config.get_text_config()

    @property
    def hidden_size(self) -> int:
        """Width of the residual stream."""
        return int(self.config.hidden_size)

    @property
    def num_layers(self) -> int:
        """Number of decoder layers."""
        return len(self.layers)

    @property
    def vocab_size(self) -> int:
        """Number of logits per position."""
        return int(self.config.vocab_size)

    @property
    def max_context_tokens(self) -> int:
        """The longest sequence, prompt and answer together, in tokens.

        A model with a sliding window is held to the window: within it, every layer attends to everything before it,
        which is what the engine's attention masks say.
        """
        limit = int(self.config.max_position_embeddings)
        window = getattr(self.config, "sliding_window", None)
        return min(limit, int(window)) if window else limit

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return torch.device(self.module.device)

    @property
    def dtype(self) -> torch.dtype:
        """Number type of the weights."""
        dtype: torch.dtype = self.module.dtype
        return dtype

    @property
    def stop_token_ids(self) -> frozenset[int]:
        """Tokens that end an answer: the end-of-sequence ids of the generation config, the config and the tokenizer."""
        generation = getattr(self.module, "generation_config", None)
        named = (getattr(generation, "eos_token_id", None), self.config.eos_token_id, self.tokenizer.eos_token_id)
        return frozenset(i for ids in named if ids is not None for i in (ids if isinstance(ids, list) else [ids]))

    def linears(self, target_modules: Sequence[str]) -> dict[str, nn.Module]:
        """Full module name to linear layer, in layer order, for every name in `target_modules`.

        A name stands for every linear layer whose full name is it or ends in `.` and it. Raises `AdapterMismatch` for
        a name that stands for none.
        """
        found = {
            name: linear
            for name, linear in self._linears.items()
            if any(is_target(name, target) for target in target_modules)
        }
        for target in target_modules:
            if not any(is_target(name, target) for name in found):
                raise AdapterMismatch(
                    f"The base model {self.name} has no linear layer called {target!r}; name its target modules."
                )
        return found

    def target_shapes(self, target_modules: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Full module name to `(d_in, d_out)`, in layer order. Raises `AdapterMismatch` as `linears` does."""
        return {name: linear_shape(module) for name, module in self.linears(target_modules).items()}

    def render_chat(self, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = True) -> list[int]:
        """Token ids of a conversation under the model's chat template.

        Only the template writes control tokens: one that a message spells out is encoded as ordinary text, so nobody
        can end their own turn and speak in another role. Raises `InvalidRequest` when the template refuses the
        conversation (no message, an unknown role or order of roles) and `CheckpointInvalid` when there is no template.
        """
        if not self.tokenizer.chat_template:
            raise CheckpointInvalid(f"The tokenizer of {self.name} has no chat template; add chat_template.jinja.")
        if not messages:
            raise InvalidRequest("Expected at least one message, none came.")
        try:
            ids = self.tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                add_generation_prompt=add_generation_prompt,
                tokenize=True,
                return_dict=False,
                sanitize_control_tokens=True,
            )
        except TemplateError as error:
            raise InvalidRequest(f"The chat template of {self.name} refuses this conversation: {error}") from error
        return list(ids)

    def render_document(self, text: str) -> list[int]:
        """Token ids of a document as the system turn, exactly as in a conversation that has it in the prompt."""
        return self.render_chat([{"role": "system", "content": text}], add_generation_prompt=False)

    @torch.no_grad()
    def encode(
        self, input_ids: Int[Tensor, "batch tokens"], attention_mask: Bool[Tensor, "batch tokens"]
    ) -> Float[Tensor, "layers batch tokens hidden"]:
        """The hidden state that enters each decoder layer, without any adapter and without gradient.

        Rows are padded on the right; padded positions hold zeros. The last layer and the output head are not run.
        Raises `PromptTooLong` beyond the model's context.
        """
        require_right_padding(attention_mask)
        longest = int(attention_mask.sum(1).max())
        if longest > self.max_context_tokens:
            raise PromptTooLong(
                f"The base model reads at most {self.max_context_tokens} tokens, {longest} came.",
                limit=self.max_context_tokens,
                count=longest,
            )
        states: list[Tensor] = []
        self._entering.states = states
        try:
            # No mask: to the left of a real token there are only real tokens, and attention is causal. The one kernel
            # path for padded and unpadded batches is also what keeps a row's bits independent of its neighbours.
            self.decoder(input_ids=input_ids, use_cache=False)
        except _LastLayerReached:
            pass
        finally:
            self._entering.states = None
        return torch.where(attention_mask[None, :, :, None], torch.stack(states), 0.0)

    def encode_each(self, sequences: Sequence[Sequence[int]]) -> list[Float[Tensor, "layers _ hidden"]]:
        """What `encode` gives for each sequence of token ids, at its own length.

        On a CPU the bits of each depend on nothing but its own tokens (and the machine and its number of threads): not
        on the others, nor on their number. So the same document gives the same adapter whoever else is being served.
        Raises `PromptTooLong`; `ValueError` for a sequence without tokens.
        """
        groups: dict[int, list[int]] = {}
        for index, sequence in enumerate(sequences):
            length = max(len(sequence), min(padded_length(len(sequence)), self.max_context_tokens))
            groups.setdefault(length, []).append(index)
        found: dict[int, Tensor] = {}
        for length, members in groups.items():
            at_once = max(1, _ENCODE_TOKENS // length)
            for start in range(0, len(members), at_once):
                batch = members[start : start + at_once]
                states = self.encode(*self.pad([sequences[index] for index in batch], length=length))
                for row, index in enumerate(batch):
                    found[index] = states[:, row, : len(sequences[index])]
        return [found[index] for index in range(len(sequences))]

    def pad(
        self, sequences: Sequence[Sequence[int]], *, length: int
    ) -> tuple[Int[Tensor, "batch tokens"], Bool[Tensor, "batch tokens"]]:
        """Token ids padded on the right to `length` tokens, and which of them are real."""
        # Any token does: what stands to the right of a sequence does not reach it.
        ids = [[*sequence, *[0] * (length - len(sequence))] for sequence in sequences]
        counts = torch.tensor([len(sequence) for sequence in sequences], device=self.device)
        mask = torch.arange(length, device=self.device) < counts[:, None]
        return torch.tensor(ids, device=self.device), mask

    def close(self) -> None:
        """Detach from the module. Idempotent."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def _note_entering(self, index: int, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        # One thread encodes while another decodes: only the thread that asked sees its states. Compiled graphs never
        # encode, and the compiler cannot trace thread-local storage.
        if torch.compiler.is_compiling():
            return
        states = getattr(self._entering, "states", None)
        if states is None:
            return
        states.append(args[0] if args else kwargs["hidden_states"])
        if index == len(self.layers) - 1:
            raise _LastLayerReached


def checkpoint_digest(folder: Path) -> str:
    """SHA-256, in hex, over the sorted names and SHA-256 digests of the files that decide what a base model computes.

    Raises `CheckpointNotFound` for a missing folder, `CheckpointInvalid` for a missing file.
    """
    if not folder.is_dir():
        raise CheckpointNotFound(f"Expected a base model in the folder {folder}, which does not exist.")
    for name in REQUIRED_FILES:
        if not (folder / name).is_file():
            raise CheckpointInvalid(f"The base model folder {folder} lacks {name}. Copy the checkpoint again.")
    if (folder / "adapter_config.json").exists():
        # transformers would apply it silently, and the digest would name another model than the one that runs.
        raise CheckpointInvalid(f"{folder} holds an adapter_config.json; a base model's folder holds no adapter.")
    weights = sorted(path for path in folder.glob("*.safetensors") if path.is_file())
    if not weights:
        raise CheckpointInvalid(f"The base model folder {folder} lacks model.safetensors. Copy the checkpoint again.")
    files = [*weights, *(folder / name for name in IDENTITY_FILES if (folder / name).is_file())]
    whole = sha256()
    for file in sorted(files, key=lambda file: file.name):
        with file.open("rb") as stream:
            part = sha256()
            while chunk := stream.read(1 << 20):
                part.update(chunk)
        whole.update(f"{file.name}\0{part.hexdigest()}\n".encode())
    return whole.hexdigest()


def is_target(name: str, target: str) -> bool:
    """Whether the module called `name` is meant by the target module name `target`."""
    return name == target or name.endswith("." + target)


def linear_shape(module: nn.Module) -> tuple[int, int]:
    """`(d_in, d_out)` of a linear layer; a `Conv1D` (GPT-2) keeps its weight the other way round."""
    first, second = module.get_parameter("weight").shape
    return (first, second) if isinstance(module, Conv1D) else (second, first)


def require_right_padding(attention_mask: Bool[Tensor, "batch tokens"]) -> None:
    """`ValueError` unless every row is real tokens, at least one, followed by padding."""
    if not bool(attention_mask[:, 0].all()) or bool((attention_mask[:, 1:] & ~attention_mask[:, :-1]).any()):
        raise ValueError("every row of attention_mask must be ones followed by zeros: pad on the right")


def _decoder_layers(decoder: nn.Module) -> nn.ModuleList:
    for name in ("layers", "h"):
        layers = getattr(decoder, name, None)
        if isinstance(layers, nn.ModuleList):
            return layers
    raise CheckpointInvalid(f"{type(decoder).__name__} has no list of decoder layers; it cannot serve as a base model.")
