"""The optimiser: descends, is orthogonal where it should be, and resumes where it stood."""

import pytest
import torch
from torch import nn

from hypernet.errors import SettingsError
from training.optimizers import MuonWithAdamW, orthogonalised, warmup_hold_decay


def problem():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16, bias=False), nn.Tanh(), nn.Linear(16, 4))
    x = torch.randn(64, 8)
    y = torch.tanh(x @ torch.randn(8, 4))
    optimizer = MuonWithAdamW([model[0].weight], [model[2].weight, model[2].bias], lr=1e-2)

    def step():
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        optimizer.step()
        return loss.item()

    return model, optimizer, step


def test_loss_falls():
    _, _, step = problem()
    losses = [step() for _ in range(60)]
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("shape", [(3, 16, 32), (2, 32, 16), (1, 16, 16)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape):
    torch.manual_seed(0)
    singular = torch.linalg.svdvals(orthogonalised(torch.randn(shape)))
    assert singular.max() < 1.4
    assert singular.median() > 0.6


def test_resumed_optimiser_goes_on_bit_for_bit():
    model, optimizer, step = problem()
    for _ in range(5):
        step()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    saved = optimizer.state_dict()
    saved = {
        "state": {k: {n: v.clone() for n, v in s.items()} for k, s in saved["state"].items()},
        **{"param_groups": saved["param_groups"]},
    }
    straight = [step() for _ in range(3)]

    model, optimizer, step = problem()
    model.load_state_dict(weights)
    optimizer.load_state_dict(saved)
    assert [step() for _ in range(3)] == straight


def test_schedule_rises_holds_and_falls():
    factor = warmup_hold_decay(total=100, warmup=10, decay_share=0.5)
    assert factor(0) == pytest.approx(0.1)
    assert factor(30) == 1.0
    assert factor(75) == pytest.approx(0.5)
    assert factor(100) == pytest.approx(0.02)


def test_schedule_of_a_run_without_an_end_is_refused():
    with pytest.raises(SettingsError, match=r"trainer\.max_steps .* it is -1"):
        warmup_hold_decay(total=-1, warmup=10, decay_share=0.5)
