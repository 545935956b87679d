import json

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hypernet.adapters import tensor_file
from hypernet.errors import AdapterInvalid

TENSORS = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor([[0.5, -0.0]])}
DATA = tensor_file.encode(TENSORS, metadata={"format": "pt", "zebra": "z", "apple": "a"})


def file_of(header: object, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def entry(shape: object = (1,), offsets: object = (0, 4), dtype: object = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def test_tensor_file_returns_what_was_put_in():
    file = tensor_file.decode(DATA)

    assert file.tensors.keys() == TENSORS.keys()
    assert all(torch.equal(file.tensors[name], TENSORS[name]) for name in TENSORS)
    assert file.metadata == {"format": "pt", "zebra": "z", "apple": "a"}


def test_tensor_file_bytes_do_not_depend_on_the_order_of_anything():
    again = tensor_file.encode(dict(reversed(TENSORS.items())), metadata={"apple": "a", "zebra": "z", "format": "pt"})

    assert again == DATA


def test_tensor_file_bytes_do_not_depend_on_memory_layout():
    strided = {"a": TENSORS["a"], "b": TENSORS["b"].T.contiguous().T}

    assert not strided["b"].is_contiguous()
    assert tensor_file.encode(strided, metadata={"format": "pt", "zebra": "z", "apple": "a"}) == DATA


def test_tensor_file_is_read_by_the_safetensors_library():
    theirs = safetensors.torch.load(DATA)

    assert theirs.keys() == TENSORS.keys()
    assert all(torch.equal(theirs[name], TENSORS[name]) for name in TENSORS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_tensor_file_reads_what_the_safetensors_library_writes(dtype):
    tensors = {name: tensor.to(dtype) for name, tensor in TENSORS.items()}
    file = tensor_file.decode(safetensors.torch.save(tensors, metadata={"format": "pt"}))

    assert all(torch.equal(file.tensors[name], tensors[name]) for name in tensors)
    assert all(file.tensors[name].dtype == dtype for name in tensors)


def test_tensor_file_tensors_own_their_memory():
    data = bytearray(DATA)
    file = tensor_file.decode(bytes(data))
    file.tensors["b"].zero_()

    assert torch.equal(tensor_file.decode(bytes(data)).tensors["b"], TENSORS["b"])


@pytest.mark.parametrize("length", range(len(DATA)))
def test_tensor_file_cut_anywhere_is_refused(length):
    with pytest.raises(AdapterInvalid):
        tensor_file.decode(DATA[:length])


def test_tensor_file_with_bytes_after_its_end_is_refused():
    with pytest.raises(AdapterInvalid, match="after its end"):
        tensor_file.decode(DATA + b"\0")


def test_tensor_file_with_a_duplicate_key_is_refused_though_the_library_takes_it():
    one = json.dumps(entry())
    data = file_of(f'{{"a":{one},"a":{one}}}'.encode(), b"\0" * 4)

    assert safetensors.torch.load(data).keys() == {"a"}
    with pytest.raises(AdapterInvalid, match="twice"):
        tensor_file.decode(data)


def test_tensor_file_with_a_huge_header_is_refused_before_it_is_parsed():
    with pytest.raises(AdapterInvalid, match="at most 1048576"):
        tensor_file.decode(file_of(b'{"__metadata__":{"x":"' + b"x" * tensor_file.MAX_HEADER_BYTES + b'"}}'))


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\xff",
        b"[]",
        b"[" * 100_000,
        b'{"a":NaN}',
        {"a": 1},
        {"a": entry() | {"more": 1}},
        {"a": entry(dtype="I64", offsets=(0, 8))},
        {"a": entry(dtype=["F32"])},
        {"a": entry(shape=(True,))},
        {"a": entry(shape=(-1,))},
        {"a": entry(shape=(1.0,))},
        {"a": entry(shape=(2**62, 2**62))},
        {"a": entry(shape=(0,), offsets=(0, 0))},
        {"a": entry(shape=4)},
        {"a": entry(offsets=(0, 4, 8))},
        {"a": entry(offsets=(4, 0))},
        {"a": entry(offsets=(0, 3))},
        {"a": entry(offsets=(4, 8))},
        {"a": entry(), "b": entry()},
        {"__metadata__": {"x": 1}, "a": entry()},
        {"__metadata__": [], "a": entry()},
    ],
    ids=lambda header: str(header)[:40],
)
def test_tensor_file_with_a_bad_header_is_refused(header):
    with pytest.raises(AdapterInvalid):
        tensor_file.decode(file_of(header, b"\0" * 4))


@settings(max_examples=400)
@given(st.data())
def test_tensor_file_with_any_byte_changed_is_read_or_refused_by_an_error_of_ours(data):
    mutant = bytearray(DATA)
    for _ in range(data.draw(st.integers(1, 4))):
        mutant[data.draw(st.integers(0, len(mutant) - 1))] = data.draw(st.integers(0, 255))
    try:
        file = tensor_file.decode(bytes(mutant))
    except AdapterInvalid:
        return
    assert sum(tensor.nbytes for tensor in file.tensors.values()) == sum(tensor.nbytes for tensor in TENSORS.values())


@given(st.binary(max_size=200))
def test_tensor_file_of_any_bytes_is_refused_by_an_error_of_ours(data):
    with pytest.raises(AdapterInvalid):
        tensor_file.decode(data)
