import pytest
import torch
from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
from torch import Tensor

from hypernet.models import AdaptedModel, BaseModel, LoraTensors
from hypernet.models.miniature import miniature_base_model

TARGETS = ("down_proj", "q_proj")
RANK = 3


@pytest.fixture
def base() -> BaseModel:
    return miniature_base_model()


@pytest.fixture
def model(base: BaseModel) -> AdaptedModel:
    return AdaptedModel(base, TARGETS)


def draw(base: BaseModel, documents: int, *, seed: int = 0, zero_b: bool = False) -> dict[str, LoraTensors]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (
            torch.randn(documents, RANK, d_in, generator=generator),
            torch.randn(documents, d_out, RANK, generator=generator) * (0 if zero_b else 0.3),
        )
        for name, (d_in, d_out) in base.target_shapes(TARGETS).items()
    }


def ids(rows: int, tokens: int = 9) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    return torch.randint(5, 260, (rows, tokens), generator=generator), torch.ones(rows, tokens, dtype=torch.bool)


def test_no_adapter_is_the_base_model_exactly(base: BaseModel, model: AdaptedModel) -> None:
    x, mask = ids(3)
    adapted = model(x, mask, None)
    model.uninstall()
    assert torch.equal(adapted, base.module(x).logits)


def test_zero_adapter_is_the_base_model_exactly(base: BaseModel, model: AdaptedModel) -> None:
    x, mask = ids(3)
    assert torch.equal(model(x, mask, draw(base, 3, zero_b=True), 2.0), model(x, mask, None))


# PEFT 0.21 reads a property that transformers 5.23 deprecates.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_functional_equals_peft_and_merged_weights(base: BaseModel, model: AdaptedModel) -> None:
    x, mask = ids(2)
    lora = draw(base, 1)
    functional = model(x, mask, lora, 2.0)
    assert (functional - model(x, mask, None)).abs().max() > 0.1
    model.uninstall()

    config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=list(TARGETS))
    peft = get_peft_model(miniature_base_model().module, config).eval()
    state = {}
    for name, (a, b) in lora.items():
        state[f"base_model.model.{name}.lora_A.weight"] = a[0]
        state[f"base_model.model.{name}.lora_B.weight"] = b[0]
    assert not set_peft_model_state_dict(peft, state).unexpected_keys
    torch.testing.assert_close(peft(x).logits, functional, rtol=1e-4, atol=1e-4)
    merged = peft.merge_and_unload()
    torch.testing.assert_close(merged(x).logits, functional, rtol=1e-4, atol=1e-4)


def test_batch_equals_one_by_one(base: BaseModel, model: AdaptedModel) -> None:
    x, mask = ids(4)
    lora = draw(base, 4)
    together = model(x, mask, lora, 1.5)
    for row in range(4):
        one = {name: (a[row : row + 1], b[row : row + 1]) for name, (a, b) in lora.items()}
        torch.testing.assert_close(model(x[row : row + 1], mask[:1], one, 1.5), together[row : row + 1])


def test_rows_of_one_document_share_its_adapter(base: BaseModel, model: AdaptedModel) -> None:
    x, mask = ids(6)
    lora = draw(base, 2)
    shared = model(x, mask, lora, 1.0)
    repeated = {name: (a.repeat_interleave(3, 0), b.repeat_interleave(3, 0)) for name, (a, b) in lora.items()}
    torch.testing.assert_close(shared, model(x, mask, repeated, 1.0))


def test_padding_on_the_right_changes_nothing_before_it(base: BaseModel, model: AdaptedModel) -> None:
    x, mask = ids(2)
    lora = draw(base, 2)
    full = model(x, mask, lora, 1.0)
    padded = torch.cat([x, torch.zeros(2, 5, dtype=torch.long)], 1)
    padded_mask = torch.cat([mask, torch.zeros(2, 5, dtype=torch.bool)], 1)
    torch.testing.assert_close(model(padded, padded_mask, lora, 1.0)[:, :9], full)


def test_a_planted_neighbour_read_would_be_seen(base: BaseModel, model: AdaptedModel) -> None:
    # The twin of the two tests above: with the pairs of two documents swapped, the rows do change.
    x, mask = ids(2)
    lora = draw(base, 2)
    swapped = {name: (a.flip(0), b.flip(0)) for name, (a, b) in lora.items()}
    assert (model(x, mask, swapped, 1.0) - model(x, mask, lora, 1.0)).abs().max() > 0.1


def test_gradients_reach_every_pair_and_nothing_else(base: BaseModel, model: AdaptedModel) -> None:
    x, mask = ids(4)
    lora = {name: (a.requires_grad_(), b.requires_grad_()) for name, (a, b) in draw(base, 2).items()}
    model(x, mask, lora, 1.0).logsumexp(-1).mean().backward()
    for a, b in lora.values():
        assert a.grad is not None
        assert b.grad is not None
        assert (a.grad.abs().amax((1, 2)) > 0).all()
        assert (b.grad.abs().amax((1, 2)) > 0).all()
    assert all(parameter.grad is None for parameter in base.module.parameters())


def test_gradients_are_those_of_merged_weights(base: BaseModel, model: AdaptedModel) -> None:
    x, mask = ids(3)
    lora = {name: (a.requires_grad_(), b.requires_grad_()) for name, (a, b) in draw(base, 1).items()}
    tensors = [tensor for pair in lora.values() for tensor in pair]
    ours = torch.autograd.grad(model(x, mask, lora, 0.5).logsumexp(-1).mean(), tensors)
    model.uninstall()
    weights = {
        f"{name}.weight": base.module.get_parameter(f"{name}.weight") + 0.5 * b[0] @ a[0]
        for name, (a, b) in lora.items()
    }
    merged = torch.func.functional_call(base.module, weights, (x,)).logits
    for mine, theirs in zip(ours, torch.autograd.grad(merged.logsumexp(-1).mean(), tensors)):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-6)


def test_bf16_autocast_is_close_and_keeps_gradients_in_fp32(base: BaseModel, model: AdaptedModel) -> None:
    x, mask = ids(4)
    lora = {name: (a.requires_grad_(), b.requires_grad_()) for name, (a, b) in draw(base, 2).items()}
    exact = model(x, mask, lora, 1.0).detach()
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(x, mask, lora, 1.0)
        logits.float().logsumexp(-1).mean().backward()
    assert (logits.float() - exact).abs().mean() < 0.05 * exact.abs().mean()
    assert all(a.grad is not None and a.grad.dtype == torch.float32 for a, _ in lora.values())


def test_a_missing_module_keeps_its_base_weights(base: BaseModel, model: AdaptedModel) -> None:
    x, mask = ids(2)
    assert torch.equal(model(x, mask, {}, 1.0), model(x, mask, None))


def test_logits_to_keep_gives_the_last_positions(base: BaseModel, model: AdaptedModel) -> None:
    x, mask = ids(2)
    lora = draw(base, 2)
    torch.testing.assert_close(
        model(x, mask, lora, 1.0, logits_to_keep=3), model(x, mask, lora, 1.0)[:, -3:], rtol=1e-5, atol=1e-5
    )


def test_a_failing_pass_leaves_no_adapter_behind(base: BaseModel, model: AdaptedModel) -> None:
    x, mask = ids(2)
    expected = model(x, mask, None)
    with pytest.raises(IndexError):
        model(torch.full_like(x, 10**6), mask, draw(base, 2), 1.0)
    assert torch.equal(model(x, mask, None), expected)


def test_unknown_modules_and_uneven_rows_are_refused(base: BaseModel, model: AdaptedModel) -> None:
    x, mask = ids(3)
    lora = draw(base, 2)
    with pytest.raises(ValueError, match="3 rows cannot be shared out to 2 adapters"):
        model(x, mask, lora, 1.0)
    with pytest.raises(ValueError, match=r"nothing.down_proj is not among"):
        model(x, mask, {"nothing.down_proj": next(iter(lora.values()))}, 1.0)


def test_padding_on_the_left_is_refused(base: BaseModel, model: AdaptedModel) -> None:
    x, mask = ids(2)
    mask[0, 0] = False
    with pytest.raises(ValueError, match="pad on the right"):
        model(x, mask, None)


def test_a_second_installation_is_refused(base: BaseModel, model: AdaptedModel) -> None:
    with pytest.raises(RuntimeError, match="already carries adapted layers"):
        AdaptedModel(base, TARGETS)
    model.uninstall()
    AdaptedModel(base, TARGETS).uninstall()


def test_uninstall_restores_the_very_same_layers(base: BaseModel) -> None:
    before = {name: id(module) for name, module in base.module.named_modules()}
    model = AdaptedModel(base, TARGETS)
    model.uninstall()
    model.uninstall()
    assert {name: id(module) for name, module in base.module.named_modules()} == before
