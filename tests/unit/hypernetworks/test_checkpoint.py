"""A hypernetwork's checkpoint: what is saved comes back, and what was changed is refused."""

import json

import pytest
import torch

from hypernet.errors import CheckpointInvalid, CheckpointNotFound
from hypernet.hypernetworks import (
    PerceiverConfig,
    PerceiverHypernetwork,
    load_checkpoint,
    read_manifest,
    save_checkpoint,
)

CONFIG = PerceiverConfig(
    modules=("model.layers.0.mlp.down_proj", "model.layers.1.mlp.down_proj"),
    d_in=(12, 12),
    d_out=(8, 8),
    feature_layers=2,
    feature_size=8,
    width=16,
    heads=2,
    blocks=1,
    rank=3,
    bias_rank=2,
)


def saved(folder, **changes):
    torch.manual_seed(0)
    network = PerceiverHypernetwork(CONFIG)
    facts = {
        "target_modules": ("down_proj",),
        "base_model": "miniature",
        "base_model_digest": "0" * 64,
        "max_document_tokens": 640,
        "chunk_tokens": 64,
        "trained_chunks": 4,
        "strength": 1.0,
        "training": {"steps": 1},
    }
    return network, save_checkpoint(network, folder, **(facts | changes))


def test_manifest_has_room_for_two_chunks_by_default(tmp_path):
    assert saved(tmp_path)[1].max_rank == 3 + 3 + 2
    assert saved(tmp_path, max_rank=5)[1].max_rank == 5


@pytest.mark.parametrize(
    "change",
    [{"max_rank": 4}, {"strength": -0.1}, {"strength": 2.5}, {"chunk_tokens": 0}, {"trained_chunks": 0}],
    ids=str,
)
def test_numbers_that_make_no_manifest_are_refused_before_anything_is_written(tmp_path, change):
    with pytest.raises(ValueError, match=next(iter(change))):
        saved(tmp_path / "new", **change)
    assert not (tmp_path / "new").exists()


def test_class_that_is_not_registered_is_refused(tmp_path):
    class Unknown(PerceiverHypernetwork):
        pass

    with pytest.raises(ValueError, match="Unknown is not registered"):
        save_checkpoint(
            Unknown(CONFIG), tmp_path, target_modules=(), base_model="", base_model_digest="", max_document_tokens=1,
            chunk_tokens=1, trained_chunks=1, strength=1.0, training={},
        )  # fmt: skip


def test_checkpoint_comes_back_bit_for_bit(tmp_path):
    network, manifest = saved(tmp_path)
    loaded, again = load_checkpoint(tmp_path)
    assert again == manifest
    assert again.digest == manifest.digest
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name])


def test_loaded_hypernetwork_is_frozen(tmp_path):
    saved(tmp_path)
    loaded, _ = load_checkpoint(tmp_path)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_digest_depends_on_what_decides_the_adapter_and_on_nothing_else(tmp_path):
    _, manifest = saved(tmp_path)
    path = tmp_path / "manifest.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"training": {"steps": 2}, "base_model": "renamed"}))
    assert read_manifest(tmp_path).digest == manifest.digest
    path.write_text(json.dumps(values | {"max_document_tokens": 65, "trained_chunks": 9}))
    assert read_manifest(tmp_path).digest == manifest.digest
    for change in ({"chunk_tokens": 65}, {"max_rank": 9}, {"strength": 0.9}):
        path.write_text(json.dumps(values | change))
        assert read_manifest(tmp_path).digest != manifest.digest


@pytest.mark.parametrize("name", ["manifest.json", "hypernetwork.safetensors"])
def test_missing_file_is_named(tmp_path, name):
    saved(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(CheckpointInvalid, match=name.replace(".", r"\.")):
        load_checkpoint(tmp_path)


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(CheckpointNotFound, match="nowhere"):
        load_checkpoint(tmp_path / "nowhere")


@pytest.mark.parametrize("damage", [lambda d: d[:-1], lambda d: d[:-4] + b"abcd", lambda d: b"", lambda d: d + b"x"])
def test_changed_weights_are_refused(tmp_path, damage):
    saved(tmp_path)
    path = tmp_path / "hypernetwork.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointInvalid, match="SHA-256"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format_version": 2, "architecture": "perceiver"}', "\ud800"])
def test_manifest_that_is_none_is_refused(tmp_path, text):
    saved(tmp_path)
    (tmp_path / "manifest.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(CheckpointInvalid, match=r"manifest|checkpoint of format"):
        load_checkpoint(tmp_path)


def test_format_from_the_future_is_refused_by_its_number(tmp_path):
    saved(tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 7}))
    with pytest.raises(CheckpointInvalid, match="format 7"):
        load_checkpoint(tmp_path)
