import hashlib
import io
import json
import pickle
import zipfile
from dataclasses import replace

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hypernet.adapters import Adapter, LoraPair, Provenance, tensor_file, validate
from hypernet.errors import AdapterInvalid
from tests.samples import sample_adapter, sample_provenance

MODULE = "model.layers.0.mlp.down_proj"
KEY_A = f"base_model.model.{MODULE}.lora_A.weight"
KEY_B = f"base_model.model.{MODULE}.lora_B.weight"


def bytes_of(tensors: dict[str, torch.Tensor], provenance: Provenance | None = None) -> bytes:
    provenance = provenance or sample_provenance()
    return tensor_file.encode(tensors, metadata={"format": "pt", "hypernet": provenance.to_json()})


def with_values(*, a: float = 1.0, b: float = 1.0, scaling: float = 1.0) -> Adapter:
    pair = LoraPair(a=torch.full((2, 6), a), b=torch.full((4, 2), b))
    return Adapter(modules={MODULE: pair}, rank=2, scaling=scaling, provenance=sample_provenance())


def test_adapter_digest_is_that_of_its_canonical_bytes():
    adapter = sample_adapter()

    assert adapter.digest == hashlib.sha256(adapter.canonical_bytes()).hexdigest()
    assert adapter.size_bytes == len(adapter.canonical_bytes())


def test_adapter_digest_is_the_same_in_every_process_and_release():
    # A change of this value changes the identity of every adapter ever stored: it needs a new format version.
    pair = LoraPair(a=torch.arange(12.0).reshape(2, 6), b=torch.arange(8.0).reshape(4, 2))
    adapter = Adapter(modules={MODULE: pair}, rank=2, scaling=0.5, provenance=sample_provenance())

    assert adapter.digest == "2636d40ec568cd41f595b4c64790690b362dbcfb7f199ad5cc77606a51cb658f"


def test_adapter_digest_is_another_for_another_value_or_provenance():
    digests = {
        sample_adapter().digest,
        sample_adapter(1).digest,
        sample_adapter(scaling=2.0).digest,
        sample_adapter(modules=(MODULE,)).digest,
        sample_adapter(provenance=sample_provenance(document_digest="e" * 64)).digest,
        sample_adapter(provenance=sample_provenance(options={})).digest,
    }

    assert len(digests) == 6


def test_adapter_digest_is_the_same_for_the_same_update_whatever_the_scaling():
    adapter = sample_adapter(scaling=4.0)
    halved = Adapter(
        modules={name: LoraPair(a=pair.a, b=pair.b * 2) for name, pair in adapter.modules.items()},
        rank=2,
        scaling=2.0,
        provenance=adapter.provenance,
    )

    assert adapter.digest == halved.digest == adapter.folded().digest


def test_adapter_folded_multiplies_the_scaling_into_b_once():
    adapter = sample_adapter(scaling=3.0, dtype=torch.bfloat16)
    folded = adapter.folded()

    assert folded.scaling == 1.0
    for name, pair in adapter.modules.items():
        assert torch.equal(folded.modules[name].a, pair.a.float())
        assert torch.equal(folded.modules[name].b, pair.b.float() * 3.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_adapter_saved_and_loaded_is_the_same(tmp_path, dtype):
    adapter = sample_adapter(scaling=2.5, dtype=dtype)
    adapter.save(tmp_path / "adapter")
    loaded = Adapter.load(tmp_path / "adapter")

    assert loaded.digest == adapter.digest
    assert loaded.rank == 2
    assert loaded.provenance == adapter.provenance
    assert all(torch.equal(loaded.modules[name].b, pair.b) for name, pair in adapter.folded().modules.items())


def test_adapter_from_vouched_bytes_is_the_same_and_lies_in_them():
    adapter = sample_adapter(modules=("model.layers.1.mlp.down_proj", "model.layers.0.mlp.up_proj", "b.a_b"))
    data = bytearray(adapter.canonical_bytes())
    again = Adapter.from_vouched_bytes(data, digest=adapter.digest)
    assert (again.digest, again.rank, again.scaling) == (adapter.digest, adapter.rank, 1.0)
    assert again.provenance == adapter.provenance
    assert again.canonical_bytes() == adapter.canonical_bytes()
    assert list(again.modules) == sorted(adapter.modules)
    start, end = (torch.frombuffer(data, dtype=torch.uint8).data_ptr() + offset for offset in (0, len(data)))
    assert all(start <= tensor.data_ptr() < end for pair in again.modules.values() for tensor in (pair.a, pair.b))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 8,
        b"\xff" * 40,
        b"\x02" + bytes(7) + b"{}",
        b"\x02" + bytes(7) + b"[]",
        (1 << 62).to_bytes(8, "little"),
    ],
)
def test_adapter_from_vouched_bytes_that_are_none_is_refused(data):
    with pytest.raises(AdapterInvalid):
        Adapter.from_vouched_bytes(bytearray(data), digest="0" * 64)


def test_adapter_from_vouched_bytes_that_were_cut_is_refused():
    data = sample_adapter().canonical_bytes()
    for end in range(0, len(data), 97):
        with pytest.raises(AdapterInvalid):
            Adapter.from_vouched_bytes(bytearray(data[:end]), digest="0" * 64)


def test_adapter_that_is_folded_already_is_itself_when_folded():
    adapter = sample_adapter()
    assert adapter.folded() is adapter
    twice = replace(adapter, scaling=2.0)
    assert twice.folded().folded() is not twice
    assert twice.folded().scaling == 1.0


def test_adapter_from_canonical_bytes_is_the_same():
    adapter = sample_adapter(scaling=2.5)
    again = Adapter.from_canonical_bytes(adapter.canonical_bytes())

    assert again.digest == adapter.digest
    assert again.canonical_bytes() == adapter.canonical_bytes()
    assert again.provenance == adapter.provenance
    assert again.target_modules == adapter.target_modules == ("down_proj",)


def test_adapter_survives_pickling():
    adapter = sample_adapter()

    assert pickle.loads(pickle.dumps(adapter)).digest == adapter.digest  # noqa: S301 - our own bytes


def test_adapter_repr_shows_no_weights():
    assert "tensor" not in repr(sample_adapter())
    assert "tensor" not in repr(sample_adapter().modules)


def test_adapter_zip_is_deterministic_and_has_its_files_at_the_root(tmp_path):
    adapter = sample_adapter()
    adapter.save(tmp_path / "adapter")
    archive = zipfile.ZipFile(io.BytesIO(adapter.to_zip()))

    assert adapter.to_zip() == sample_adapter().to_zip()
    assert archive.namelist() == ["adapter_config.json", "adapter_model.safetensors"]
    assert archive.testzip() is None
    for name in archive.namelist():
        assert archive.read(name) == (tmp_path / "adapter" / name).read_bytes()


def test_adapter_validates_against_the_shapes_of_its_base_model():
    expected = {f"model.layers.{layer}.mlp.down_proj": (6, 4) for layer in range(3)}

    validate(sample_adapter(), expected=expected)
    with pytest.raises(AdapterInvalid, match="6 to 5 numbers in the base model, 6 to 4 in the adapter"):
        validate(sample_adapter(), expected=expected | {MODULE: (6, 5)})
    with pytest.raises(AdapterInvalid, match=f"no linear layer {MODULE!r}"):
        validate(sample_adapter(), expected={"model.layers.1.mlp.down_proj": (6, 4)})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", ["a", "b"])
def test_adapter_that_is_not_finite_is_refused(where, value):
    adapter = with_values(**{where: value})

    with pytest.raises(AdapterInvalid, match="not finite"):
        validate(adapter)
    with pytest.raises(AdapterInvalid, match="not finite"):
        Adapter.from_canonical_bytes(adapter.canonical_bytes())


@pytest.mark.parametrize(
    "adapter",
    [with_values(a=1e3, b=1e3), with_values(b=1e30, scaling=1e30), with_values(scaling=1e6), with_values(b=3e38)],
)
def test_adapter_that_would_drown_the_base_model_is_refused(adapter):
    with pytest.raises(AdapterInvalid):
        validate(adapter)


@pytest.mark.parametrize("scaling", [float("nan"), float("inf")])
def test_adapter_scaling_that_is_not_finite_is_refused(scaling):
    with pytest.raises(AdapterInvalid, match="finite number"):
        validate(sample_adapter(scaling=scaling))


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a..b", ".a", "a.", "à", "a\n", "x" * 300])
def test_adapter_module_names_that_are_none_are_refused(name):
    with pytest.raises(AdapterInvalid, match="module name"):
        validate(sample_adapter(modules=(name,)))


def test_adapter_of_more_modules_than_a_reader_takes_is_refused_when_it_is_written():
    # As of a mixture of experts: 48 layers of 128.
    names = [f"model.layers.{layer}.mlp.experts.{expert}.down_proj" for layer in range(48) for expert in range(128)]
    pair = LoraPair(a=torch.ones(1, 2), b=torch.ones(2, 1))
    few = Adapter(modules=dict.fromkeys(names[:1000], pair), rank=1, scaling=1.0, provenance=sample_provenance())
    many = Adapter(modules=dict.fromkeys(names, pair), rank=1, scaling=1.0, provenance=sample_provenance())

    assert Adapter.from_canonical_bytes(few.canonical_bytes()).digest == few.digest
    with pytest.raises(AdapterInvalid, match="fewer modules"):
        many.canonical_bytes()


def test_adapter_without_modules_is_refused():
    with pytest.raises(AdapterInvalid, match="empty"):
        validate(sample_adapter(modules=()))


def test_adapter_of_another_rank_or_dtype_than_it_says_is_refused():
    sound = sample_adapter()
    ranks = Adapter(modules=sound.modules, rank=3, scaling=1.0, provenance=sound.provenance)

    with pytest.raises(AdapterInvalid, match="share its rank"):
        validate(ranks)
    with pytest.raises(AdapterInvalid, match="float64"):
        validate(sample_adapter(dtype=torch.float64))


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({KEY_A: torch.ones(2, 6)}, "only one of its two"),
        ({KEY_A: torch.ones(2, 6), KEY_B: torch.ones(4, 3)}, "shape"),
        ({KEY_A: torch.ones(2, 6), KEY_B: torch.ones(8)}, "shape"),
        ({KEY_A: torch.ones(2, 6), KEY_B: torch.ones(4, 2), "lm_head.weight": torch.ones(1)}, "only LoRA pairs"),
        ({"model.down_proj.weight": torch.ones(2, 2)}, "only LoRA pairs"),
        (
            {
                KEY_A: torch.ones(2, 6),
                KEY_B: torch.ones(4, 2),
                KEY_A.replace("0", "1"): torch.ones(3, 6),
                KEY_B.replace("0", "1"): torch.ones(4, 3),
            },
            "share its rank",
        ),
        ({}, "empty"),
    ],
)
def test_adapter_bytes_of_wrong_shapes_or_names_are_refused(tensors, reason):
    with pytest.raises(AdapterInvalid, match=reason):
        Adapter.from_canonical_bytes(bytes_of(tensors))


def test_adapter_bytes_of_another_tool_are_not_canonical():
    tensors = {KEY_A: torch.ones(2, 6), KEY_B: torch.ones(4, 2)}

    Adapter.from_canonical_bytes(bytes_of(tensors))
    with pytest.raises(AdapterInvalid, match="no provenance"):
        Adapter.from_canonical_bytes(safetensors.torch.save(tensors))
    halves = safetensors.torch.save(
        {name: tensor.half() for name, tensor in tensors.items()},
        metadata={"format": "pt", "hypernet": sample_provenance().to_json()},
    )
    with pytest.raises(AdapterInvalid, match="not in canonical form"):
        Adapter.from_canonical_bytes(halves)


@pytest.mark.parametrize(
    "change",
    [
        {"format_version": 2},
        {"format_version": True},
        {"base_model": None},
        {"options": {"x": [1]}},
        {"options": None},
        {"extra": 1},
    ],
)
def test_adapter_bytes_with_a_provenance_of_another_form_are_refused(change):
    text = json.dumps(json.loads(sample_provenance().to_json()) | change)
    tensors = {KEY_A: torch.ones(2, 6), KEY_B: torch.ones(4, 2)}

    with pytest.raises(AdapterInvalid):
        Adapter.from_canonical_bytes(tensor_file.encode(tensors, metadata={"format": "pt", "hypernet": text}))


def test_adapter_bytes_with_an_option_too_large_for_a_float_are_refused():
    text = sample_provenance(options={"x": 1}).to_json().replace('"x":1', '"x":1e999')
    tensors = {KEY_A: torch.ones(2, 6), KEY_B: torch.ones(4, 2)}

    with pytest.raises(AdapterInvalid, match="plain values"):
        Adapter.from_canonical_bytes(tensor_file.encode(tensors, metadata={"format": "pt", "hypernet": text}))


def test_adapter_bytes_with_other_padding_are_refused_though_the_library_takes_them():
    # The twin of the next test: a reader that only looks at names and values gives one adapter two identities.
    data = sample_adapter(modules=("a.b",)).canonical_bytes()
    mutant = data.replace(b"}} ", b"}}\n", 1)

    assert mutant != data
    assert safetensors.torch.load(mutant).keys() == safetensors.torch.load(data).keys()
    with pytest.raises(AdapterInvalid, match="not in canonical form"):
        Adapter.from_canonical_bytes(mutant)


@settings(max_examples=400)
@given(st.data())
def test_adapter_bytes_with_any_byte_changed_are_refused_or_another_adapter(data):
    canonical = sample_adapter().canonical_bytes()
    position = data.draw(st.integers(0, len(canonical) - 1))
    value = data.draw(st.integers(0, 255))
    mutant = canonical[:position] + bytes([value]) + canonical[position + 1 :]
    try:
        adapter = Adapter.from_canonical_bytes(mutant)
    except AdapterInvalid:
        return
    assert adapter.digest == hashlib.sha256(mutant).hexdigest()
    assert adapter.canonical_bytes() == mutant
    assert (adapter.digest == sample_adapter().digest) == (mutant == canonical)
