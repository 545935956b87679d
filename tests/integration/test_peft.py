"""One adapter, three readers: PEFT's own loader, weights merged by hand, and a folder written by PEFT."""

import copy

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from hypernet.adapters import Adapter
from tests.samples import sample_adapter

TOKENS = torch.arange(12).reshape(2, 6)
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
TARGETS = ("mlp.down_proj", "self_attn.q_proj")


def random_model(*, layers: int = 2) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=32,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture
def model() -> LlamaForCausalLM:
    return random_model()


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=TOKENS).logits


def merged(model: LlamaForCausalLM, adapter: Adapter) -> LlamaForCausalLM:
    """The model with the adapter's update added to its weights by the formula alone."""
    model = copy.deepcopy(model)
    for name, pair in adapter.modules.items():
        weight = model.get_submodule(name).weight
        weight.data += adapter.scaling * pair.b.float() @ pair.a.float()
    return model


def adapter_for(layers: tuple[int, ...] = (0, 1), *, scaling: float = 1.0) -> Adapter:
    modules = tuple(f"model.layers.{layer}.mlp.down_proj" for layer in layers)
    return sample_adapter(modules=modules, rank=3, d_in=24, d_out=16, scaling=scaling)


@pytest.mark.parametrize("scaling", [1.0, 8.0])
@pytest.mark.parametrize("layers", [(0, 1), (1,)], ids=["every-layer", "one-layer"])
def test_adapter_loaded_by_peft_gives_the_logits_of_merged_weights(tmp_path, model, layers, scaling):
    adapter = adapter_for(layers, scaling=scaling)
    expected, bare = logits(merged(model, adapter)), logits(model)
    adapter.save(tmp_path / "adapter")
    loaded = PeftModel.from_pretrained(model, tmp_path / "adapter")

    torch.testing.assert_close(logits(loaded), expected, **CLOSE)
    assert (expected - bare).abs().max() > 0.1
    changed = {name for name, _ in loaded.named_modules() if name.endswith(".lora_A.default")}
    assert changed == {f"base_model.model.{name}.lora_A.default" for name in adapter.modules}


def test_adapter_whose_scaling_is_applied_twice_is_far_outside_the_tolerance(model):
    # The twin of the test above: what it would see if a reader of the folder multiplied by the scaling again.
    adapter = adapter_for(scaling=1.01)
    twice = Adapter(modules=adapter.folded().modules, rank=adapter.rank, scaling=1.01, provenance=adapter.provenance)

    with pytest.raises(AssertionError, match="not close"):
        torch.testing.assert_close(logits(merged(model, twice)), logits(merged(model, adapter)), **CLOSE)


def test_adapter_of_many_modules_is_loaded_by_peft_into_just_those(tmp_path):
    # From twenty names on, PEFT shortens them to endings that must still fit no other module.
    model = random_model(layers=23)
    adapter = adapter_for(tuple(layer for layer in range(23) if layer != 11))
    expected = logits(merged(model, adapter))
    adapter.save(tmp_path / "adapter")
    loaded = PeftModel.from_pretrained(model, tmp_path / "adapter")

    torch.testing.assert_close(logits(loaded), expected, **CLOSE)
    assert sum(name.endswith(".lora_A.default") for name, _ in loaded.named_modules()) == 22


@pytest.mark.parametrize("rank_stabilised", [False, True])
def test_adapter_trained_with_peft_gives_the_same_logits_after_load_and_save(tmp_path, model, rank_stabilised):
    config = LoraConfig(
        r=3, lora_alpha=7, use_rslora=rank_stabilised, target_modules=list(TARGETS), init_lora_weights=False
    )
    trained = get_peft_model(copy.deepcopy(model), config).eval()
    trained.save_pretrained(tmp_path / "theirs")
    adapter = Adapter.load(tmp_path / "theirs")
    adapter.save(tmp_path / "ours")
    loaded = PeftModel.from_pretrained(copy.deepcopy(model), tmp_path / "ours")

    assert adapter.target_modules == ("down_proj", "q_proj")
    torch.testing.assert_close(logits(merged(model, adapter)), logits(trained), **CLOSE)
    torch.testing.assert_close(logits(loaded), logits(trained), **CLOSE)
    assert (logits(trained) - logits(model)).abs().max() > 1e-3
