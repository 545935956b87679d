"""The safetensors format, strictly: one sequence of bytes for one set of tensors, and nothing accepted that a reader
could take two ways.

The library's writer leaves the order of the metadata open and its reader takes duplicate keys and headers of 89 MB,
which is memory-safe but gives neither an identity nor a bound. Files written here are read by it as they are.

Source: the safetensors format description (8 bytes little-endian header length, JSON header, data).
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hypernet.errors import AdapterInvalid

MAX_HEADER_BYTES = 1 << 20
"""A thousand modules need about 250 KB."""

_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_ALIGNMENT = 8
_LENGTH_BYTES = 8


@dataclass(frozen=True, kw_only=True)
class TensorFile:
    """What a file holds: its tensors by name and its metadata."""

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]


def encode(tensors: Mapping[str, Tensor], *, metadata: Mapping[str, str]) -> bytes:
    """The one file for these float32 tensors: names sorted, data in the same order without gaps, header padded to 8.

    Equal names, values and metadata give equal bytes on every machine and with every version of the libraries.
    """
    chunks = [tensors[name].detach().cpu().contiguous().numpy().astype("<f4", copy=False) for name in sorted(tensors)]
    shapes = {name: list(tensors[name].shape) for name in sorted(tensors)}
    header = canonical_header(shapes, metadata=metadata)
    return b"".join([header, *(chunk.reshape(-1).view("u1").data for chunk in chunks)])


def canonical_header(shapes: Mapping[str, list[int]], *, metadata: Mapping[str, str]) -> bytes:
    """What `encode` puts before the data of float32 tensors of these shapes: the length, then the padded header.

    Raises: `AdapterInvalid` for a header that `decode` would refuse as too long.
    """
    entries: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    offset = 0
    for name in sorted(shapes):
        end = offset + 4 * math.prod(shapes[name])
        entries[name] = {"dtype": "F32", "shape": shapes[name], "data_offsets": [offset, end]}
        offset = end
    header = json.dumps(entries, ensure_ascii=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % _ALIGNMENT)
    if len(header) > MAX_HEADER_BYTES:
        raise AdapterInvalid(
            f"The adapter's file would have a header of {len(header)} bytes for its {len(shapes)} tensors, at most "
            f"{MAX_HEADER_BYTES} are allowed; change fewer modules."
        )
    return len(header).to_bytes(_LENGTH_BYTES, "little") + header


def decode(data: bytes) -> TensorFile:
    """The tensors (owning their memory, on the CPU) and metadata of a safetensors file.

    Raises: `AdapterInvalid` for a file that is cut short or too long, a header that is over `MAX_HEADER_BYTES`, not
    JSON, or names anything twice, a dtype other than F32, F16 and BF16, empty tensors, data that overlaps or has gaps.
    """
    header, body = _split(data)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise AdapterInvalid("The adapter file's metadata must map text to text.")
    spans = sorted(((*_entry(entry), name) for name, entry in header.items()), key=lambda span: span[:2])
    tensors: dict[str, Tensor] = {}
    expected = 0
    for start, end, dtype, shape, name in spans:
        if start != expected:
            raise AdapterInvalid("The adapter file's tensors overlap or have gaps between them.")
        expected = end
        if end > len(body):
            break
        # A copy: a tensor over the caller's bytes would be read-only, unaligned, and keep the whole file in memory.
        tensors[name] = torch.frombuffer(bytearray(body[start:end]), dtype=dtype).reshape(shape)
    if expected != len(body):
        raise AdapterInvalid(
            f"The adapter file is cut short or has bytes after its end: its header describes {expected} bytes of "
            f"tensors, it holds {len(body)}. Send it again."
        )
    return TensorFile(tensors=tensors, metadata=metadata)


def decode_encoded(data: bytearray) -> TensorFile:
    """As `decode`, of bytes that `encode` has made: the tensors lie in them, so that nobody may change them afterwards.

    What `encode` always does the same way is not looked at: with hundreds of tensors that is most of the work. Raises:
    `AdapterInvalid` for bytes that are of no such file.
    """
    try:
        end = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")
        header = json.loads(data[_LENGTH_BYTES:end])
        metadata = header.pop("__metadata__")
        shapes = [entry["shape"] for entry in header.values()]
        parts = torch.split(
            torch.frombuffer(data, dtype=torch.float32, offset=end), [math.prod(shape) for shape in shapes]
        )
        tensors = {name: part.view(shape) for name, part, shape in zip(header, parts, shapes, strict=True)}
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise AdapterInvalid("The adapter file is not one that this program has written.") from error
    return TensorFile(tensors=tensors, metadata=metadata)


def _split(data: bytes) -> tuple[dict[str, Any], memoryview]:
    if len(data) < _LENGTH_BYTES:
        raise AdapterInvalid(f"The adapter file is cut short: {len(data)} bytes are no safetensors file.")
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    if length > MAX_HEADER_BYTES:
        raise AdapterInvalid(
            f"The adapter file's header is said to be {length} bytes, at most {MAX_HEADER_BYTES} are allowed; "
            "this is no safetensors file, or one with far too many tensors."
        )
    end = _LENGTH_BYTES + length
    if end > len(data):
        raise AdapterInvalid(f"The adapter file is cut short: its header is {length} bytes, the file {len(data)}.")
    header = read_json_object(data[_LENGTH_BYTES:end], what="adapter file's header")
    return header, memoryview(data)[end:]


def read_json_object(data: bytes, *, what: str) -> dict[str, Any]:
    """A JSON object with no key twice and no number spelt NaN or Infinity. Raises: `AdapterInvalid`."""
    try:
        value = json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, _Refused) else "it is not JSON in UTF-8"
        raise AdapterInvalid(f"The {what} cannot be read: {reason}.") from None
    if not isinstance(value, dict):
        raise AdapterInvalid(f"The {what} must be a JSON object, it is {type(value).__name__}.")
    return value


class _Refused(ValueError):
    """Valid JSON that is refused all the same."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) != len(pairs):
        raise _Refused("a key is in it twice")
    return names


def _no_constant(name: str) -> Any:
    raise _Refused(f"{name} is no JSON number")


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


def _entry(entry: Any) -> tuple[int, int, torch.dtype, list[int]]:
    """Start, end, dtype and shape of one tensor, consistent with each other."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise AdapterInvalid("The adapter file's header must give every tensor a dtype, a shape and data_offsets.")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in _DTYPES:
        raise AdapterInvalid(f"Adapter tensors must be of dtype {', '.join(_DTYPES)}; the file has another.")
    if not isinstance(shape, list) or not all(map(_is_count, shape)) or len(shape) > 8:
        raise AdapterInvalid("The adapter file's header gives a tensor a shape that is none.")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_count, offsets)):
        raise AdapterInvalid("The adapter file's header gives a tensor data_offsets that are none.")
    dtype = _DTYPES[entry["dtype"]]
    size_bytes = math.prod(shape) * dtype.itemsize
    if size_bytes == 0:
        raise AdapterInvalid("The adapter file holds an empty tensor.")
    if offsets[1] - offsets[0] != size_bytes:
        raise AdapterInvalid("The adapter file's header gives a tensor a size that its shape and dtype do not have.")
    return offsets[0], offsets[1], dtype, shape
