"""The Perceiver: zero start, independence of padding and neighbours, gradients everywhere; its checkpoint."""

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
    d_in=12,
    d_out=8,
    feature_layers=2,
    feature_size=8,
    width=16,
    heads=2,
    blocks=2,
    rank=3,
    bias_rank=2,
)


def hypernetwork(*, trained: bool = True):
    torch.manual_seed(0)
    network = PerceiverHypernetwork(CONFIG)
    if trained:  # away from the zeros that training starts from
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def features(batch=3, tokens=6):
    return torch.randn(2, batch, tokens, 8, generator=torch.Generator().manual_seed(1))


def everything(batch=3, tokens=6):
    return torch.ones(batch, tokens, dtype=torch.bool)


def test_untrained_hypernetwork_changes_nothing_yet_is_live():
    tensors = hypernetwork(trained=False)(features(), everything())
    for a, b in tensors.values():
        assert torch.count_nonzero(b) == 0
        assert torch.count_nonzero(a) == a.numel()


def test_every_module_gets_a_pair_of_the_full_rank():
    tensors = hypernetwork()(features(), everything())
    assert list(tensors) == list(CONFIG.modules)
    for a, b in tensors.values():
        assert a.shape == (3, 5, 12)
        assert b.shape == (3, 8, 5)


def test_padding_does_not_change_a_document():
    network, short = hypernetwork(), features(batch=1, tokens=4)
    padded = torch.cat([short, torch.full((2, 1, 3, 8), 7.0)], dim=2)
    mask = torch.tensor([[True] * 4 + [False] * 3])
    alone, beside = network(short, everything(1, 4)), network(padded, mask)
    for name in alone:
        for plain, masked in zip(alone[name], beside[name], strict=True):
            torch.testing.assert_close(plain, masked)


def test_documents_in_a_batch_do_not_mix():
    network, states = hypernetwork(), features()
    together = network(states, everything())
    for index in range(3):
        alone = network(states[:, index : index + 1], everything(1))
        for name in alone:
            for one, all_of_them in zip(alone[name], together[name], strict=True):
                torch.testing.assert_close(one[0], all_of_them[index])


def test_different_documents_give_different_adapters_and_share_the_common_ranks():
    tensors = hypernetwork()(features(), everything())
    for a, b in tensors.values():
        assert not torch.allclose(a[0, :3], a[1, :3])
        assert torch.equal(a[0, 3:], a[1, 3:])
        assert torch.equal(b[0, :, 3:], b[1, :, 3:])


def test_order_of_tokens_matters():
    network, states = hypernetwork(), features(batch=1)
    turned = network(states.flip(2), everything(1))
    (a, _), (b, _) = network(states, everything(1))[CONFIG.modules[0]], turned[CONFIG.modules[0]]
    assert not torch.allclose(a, b, atol=1e-4)


def test_every_weight_learns():
    network = hypernetwork()
    sum((a * b.mT[..., :1]).sum() for a, b in network(features(), everything()).values()).backward()
    still = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still


def saved(folder):
    network = hypernetwork()
    manifest = save_checkpoint(
        network,
        folder,
        target_modules=("down_proj",),
        base_model="miniature",
        base_model_digest="0" * 64,
        max_document_tokens=64,
        training={"steps": 1},
    )
    return network, manifest


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
    path.write_text(json.dumps(values | {"max_document_tokens": 65}))
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


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format_version": 1, "architecture": "perceiver"}', "\ud800"])
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
