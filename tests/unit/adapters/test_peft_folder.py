import json
import math
from pathlib import Path

import pytest
import safetensors.torch
import torch

from hypernet.adapters import Adapter, peft_folder
from hypernet.errors import AdapterInvalid, Conflict
from tests.samples import sample_adapter, sample_provenance

MODULE = "model.layers.0.mlp.down_proj"
A = torch.arange(12.0).reshape(2, 6)
B = torch.arange(8.0).reshape(4, 2)


def foreign_folder(folder: Path, **config: object) -> Path:
    """What another tool writes: its own configuration, no provenance."""
    folder.mkdir()
    fields = {"peft_type": "LORA", "r": 2, "lora_alpha": 16, "target_modules": ["down_proj"], "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(fields | config))
    tensors = {peft_folder.key_a(MODULE): A, peft_folder.key_b(MODULE): B}
    (folder / "adapter_model.safetensors").write_bytes(safetensors.torch.save(tensors))
    return folder


def test_peft_folder_says_what_vllm_and_peft_need():
    config = json.loads(sample_adapter(scaling=8.0).peft_files()["adapter_config.json"])

    # Source: vLLM, vllm/lora/peft_helper.py: r, lora_alpha and target_modules are required, modules_to_save and
    # use_dora refused, the scaling is lora_alpha / r, or lora_alpha / sqrt(r) with use_rslora.
    assert (config["r"], config["lora_alpha"], config["use_rslora"]) == (2, 2, False)
    assert config["target_modules"] == ["model.layers.0.mlp.down_proj", "model.layers.1.mlp.down_proj"]
    assert (config["modules_to_save"], config["use_dora"], config["bias"]) == (None, False, "none")
    assert (config["peft_type"], config["task_type"]) == ("LORA", "CAUSAL_LM")
    assert config["base_model_name_or_path"] == "tiny"


@pytest.mark.parametrize(
    ("config", "scaling"),
    [
        ({}, 8.0),
        ({"lora_alpha": 2}, 1.0),
        ({"lora_alpha": 3.5}, 1.75),
        ({"lora_alpha": -2}, -1.0),
        ({"use_rslora": True}, 16 / math.sqrt(2)),
    ],
)
def test_peft_folder_of_another_tool_is_folded_on_load(tmp_path, config, scaling):
    adapter = Adapter.load(foreign_folder(tmp_path / "foreign", **config))

    assert adapter.scaling == 1.0
    assert torch.equal(adapter.modules[MODULE].a, A)
    assert torch.equal(adapter.modules[MODULE].b, B * scaling)


def test_peft_folder_of_another_tool_belongs_to_no_known_base_model(tmp_path):
    folder = foreign_folder(tmp_path / "foreign", base_model_name_or_path="org/model")

    assert Adapter.load(folder).provenance.base_model == "org/model"
    assert Adapter.load(folder).provenance.base_model_digest == "unknown"
    assert Adapter.load(folder, provenance=sample_provenance()).provenance == sample_provenance()


def test_peft_folder_of_ours_keeps_its_own_provenance(tmp_path):
    sample_adapter().save(tmp_path / "ours")

    claimed = sample_provenance(base_model_digest="0" * 64)
    assert Adapter.load(tmp_path / "ours", provenance=claimed).provenance == sample_provenance()


def test_peft_folder_of_ours_with_another_alpha_is_what_peft_would_make_of_it(tmp_path):
    sample_adapter().save(tmp_path / "ours")
    path = tmp_path / "ours" / "adapter_config.json"
    path.write_text(path.read_text().replace('"lora_alpha": 2', '"lora_alpha": 4'))

    assert Adapter.load(tmp_path / "ours").digest == sample_adapter(scaling=2.0).digest


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("peft_type", "LOHA"),
        ("peft_type", None),
        ("bias", "all"),
        ("use_dora", True),
        ("use_qalora", True),
        ("lora_bias", True),
        ("modules_to_save", ["lm_head"]),
        ("rank_pattern", {"down_proj": 4}),
        ("alpha_pattern", {"down_proj": 4}),
        ("layer_replication", [[0, 1]]),
        ("trainable_token_indices", [1]),
        ("target_parameters", ["weight"]),
        ("alora_invocation_tokens", [1, 2]),
        ("megatron_config", {"x": 1}),
        ("loftq_config", {"loftq_bits": 4}),
        ("init_lora_weights", "pissa"),
        ("init_lora_weights", ["pissa"]),
        ("a_feature_of_next_year", 1),
    ],
)
def test_peft_folder_with_a_feature_we_do_not_have_is_refused_by_its_name(tmp_path, name, value):
    with pytest.raises(AdapterInvalid, match=name):
        Adapter.load(foreign_folder(tmp_path / "foreign", **{name: value}))


@pytest.mark.parametrize(
    "config",
    [
        {"r": None},
        {"r": 0},
        {"r": True},
        {"r": 2.0},
        {"r": 10**400},
        {"r": 3},
        {"lora_alpha": None},
        {"lora_alpha": "16"},
        {"lora_alpha": True},
        {"lora_alpha": 10**400},
        {"lora_alpha": 1e8},
        {"target_modules": ["up_proj"]},
        {"target_modules": ["proj"]},
    ],
    ids=lambda config: str(config)[:40],
)
def test_peft_folder_whose_configuration_contradicts_itself_is_refused(tmp_path, config):
    with pytest.raises(AdapterInvalid):
        Adapter.load(foreign_folder(tmp_path / "foreign", **config))


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"r": 2, "r": 4}', '{"lora_alpha": Infinity}', '{"x": ' + "[" * 99999]
)
def test_peft_folder_with_a_broken_configuration_is_refused(tmp_path, text):
    folder = foreign_folder(tmp_path / "foreign")
    (folder / "adapter_config.json").write_text(text)

    with pytest.raises(AdapterInvalid, match="adapter_config"):
        Adapter.load(folder)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_peft_folder_without_one_of_its_files_is_refused_by_its_name(tmp_path, name):
    folder = foreign_folder(tmp_path / "foreign")
    (folder / name).unlink()

    with pytest.raises(AdapterInvalid, match=name):
        Adapter.load(folder)


def test_peft_folder_with_pickled_weights_alone_is_refused_unread(tmp_path):
    folder = foreign_folder(tmp_path / "foreign")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")

    with pytest.raises(AdapterInvalid, match=r"adapter_model\.safetensors"):
        Adapter.load(folder)


def test_peft_folder_replaces_an_adapter_and_leaves_nothing_beside_it(tmp_path):
    sample_adapter(0).save(tmp_path / "adapter")
    sample_adapter(1).save(str(tmp_path / "adapter"))

    assert Adapter.load(tmp_path / "adapter").digest == sample_adapter(1).digest
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_peft_folder_never_replaces_anything_else(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")

    with pytest.raises(Conflict, match="other than an adapter"):
        sample_adapter().save(tmp_path)
    with pytest.raises(Conflict, match="other than an adapter"):
        sample_adapter().save(tmp_path / "thesis.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_peft_folder_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    sample_adapter(0).save(tmp_path / "adapter")

    def fail(path: Path, data: bytes) -> None:
        if path.name == "adapter_model.safetensors":
            raise OSError(28, "No space left on device")
        path.write_bytes(data)

    monkeypatch.setattr(peft_folder, "replace_file", fail)
    for folder in ("adapter", "another"):
        with pytest.raises(OSError, match="No space left"):
            sample_adapter(1).save(tmp_path / folder)

    assert Adapter.load(tmp_path / "adapter").digest == sample_adapter(0).digest
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]
