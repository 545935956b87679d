"""A collapsed hypernetwork is told from a healthy one, and its training stops."""

import math

import lightning
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader

from training.callbacks import CollapseGuard, HypernetworkCollapsed
from training.collapse import Updates, mean_adapter, mean_cosine, update_cosines

pytestmark = [
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:.*:UserWarning:lightning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*"),
]


def draw(seed, *, documents=3, rank=2, d_in=7, d_out=5, modules=2):
    generator = torch.Generator().manual_seed(seed)
    return {
        f"layers.{index}": (
            torch.randn(documents, rank, d_in, generator=generator),
            torch.randn(documents, d_out, rank, generator=generator),
        )
        for index in range(modules)
    }


def materialised(pairs):
    return torch.cat([torch.bmm(b, a).flatten(1) for a, b in pairs.values()], dim=1)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 5))
def test_update_cosines_are_those_of_the_updates_written_out(seed, documents, rank):
    pairs = draw(seed, documents=documents, rank=rank)
    updates = torch.nn.functional.normalize(materialised(pairs), dim=1)
    torch.testing.assert_close(update_cosines(pairs), updates @ updates.mT, atol=1e-5, rtol=1e-4)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from([(2, 1), (3, 1), (2, 4), (5, 3)]), st.booleans())
def test_mean_adapter_is_the_mean_update_for_every_document(seed, shape, wide):
    documents, rank = shape
    d_in, d_out = (9, 4) if wide else (4, 9)
    pairs = draw(seed, documents=documents, rank=rank, d_in=d_in, d_out=d_out)
    mean = mean_adapter(pairs)
    assert all(a.shape[1] <= 4 for a, _ in mean.values())
    expected = materialised(pairs).mean(0, keepdim=True).expand(documents, -1)
    torch.testing.assert_close(materialised(mean), expected, atol=1e-5, rtol=1e-4)


def test_mean_cosine_is_one_for_equal_updates_whatever_their_factors():
    (a, b) = next(iter(draw(0, documents=1).values()))
    turn, _ = torch.linalg.qr(torch.randn(2, 2))
    pairs = {"x": (torch.cat((a, turn @ a)), torch.cat((b, b @ turn.mT)))}
    assert mean_cosine(pairs) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("pairs", [draw(0, documents=1), {"x": (torch.ones(2, 1, 3), torch.zeros(2, 3, 1))}])
def test_mean_cosine_of_one_document_or_of_no_change_is_not_a_number(pairs):
    assert math.isnan(mean_cosine(pairs))


def test_common_ranks_are_left_out_of_the_document_ranks():
    pairs = draw(0)
    common = {name: (torch.cat((a, a[:1].expand_as(a)), 1), torch.cat((b, b), 2)) for name, (a, b) in pairs.items()}
    own = Updates(pairs=common, common_ranks=2).of_documents()
    for name, (a, b) in pairs.items():
        assert torch.equal(own[name][0], a)
        assert torch.equal(own[name][1], b)


class Planted(lightning.LightningModule):
    """Writes the same update for everybody, or each its own; never learns."""

    def __init__(self, *, collapsed):
        super().__init__()
        self.collapsed = collapsed
        self.weight = nn.Parameter(torch.zeros(()))

    def _updates(self):
        a, b = torch.randn(4, 2, 6), torch.randn(4, 5, 2)
        if self.collapsed:
            a, b = a[:1] + 0.01 * a, b[:1] + 0.01 * b
        return Updates(pairs={"x": (a, b)}, common_ranks=0)

    def training_step(self, batch, batch_index):
        return {"loss": self.weight * 0.0, "updates": self._updates()}

    def validation_step(self, batch, batch_index):
        self.log("loss/own", 1.0)
        self.log("loss/mean", 1.001 if self.collapsed else 2.0)
        return {"updates": self._updates()}

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(module, guard, *, steps=8):
    trainer = lightning.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        val_check_interval=2,
        check_val_every_n_epoch=None,
        callbacks=[guard],
    )
    data = DataLoader(torch.zeros(8, 1))
    trainer.fit(module, data, data)
    return trainer


def test_collapsed_hypernetwork_is_warned_about_and_stops_the_run_with_the_remedies_named():
    with (
        pytest.warns(UserWarning, match="Signs of collapse"),
        pytest.raises(HypernetworkCollapsed, match=r"more distinct people.*token-level.*other-person"),
    ):
        fit(Planted(collapsed=True), CollapseGuard(every_n_steps=1, patience=2, grace_steps=1))


@pytest.mark.filterwarnings("error:Signs of collapse")
def test_healthy_hypernetwork_runs_to_the_end_and_both_signs_are_logged():
    trainer = fit(Planted(collapsed=False), CollapseGuard(every_n_steps=1, patience=1, grace_steps=0))
    assert trainer.global_step == 8
    assert abs(trainer.callback_metrics["cosine/held_out"]) < 0.9
    assert trainer.callback_metrics["gap/own_mean"] == pytest.approx(1.0)
    assert {"cosine/documents", "cosine/adapters"} <= set(trainer.callback_metrics)


@pytest.mark.filterwarnings("error:Signs of collapse")
def test_nothing_is_judged_before_the_grace_is_over():
    assert fit(Planted(collapsed=True), CollapseGuard(patience=1, grace_steps=8)).global_step == 8


def test_streak_goes_on_after_a_resume():
    guard = CollapseGuard(patience=3)
    for _ in range(2):
        with pytest.warns(UserWarning, match="Signs of collapse"):
            guard._judge(0.99, 0.0)
    resumed = CollapseGuard(patience=3)
    resumed.load_state_dict(guard.state_dict())
    with pytest.raises(HypernetworkCollapsed):
        resumed._judge(0.99, 0.0)
