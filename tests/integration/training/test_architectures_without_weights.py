"""The mean of a population and fine-tuning: trained, released and loaded by the commands of all architectures."""

from pathlib import Path

import pytest
import torch

from hypernet.generators import load
from tests.miniature import NAME, write_checkpoint
from training.cli import run

CONFIGS = Path(__file__).parents[3] / "configs" / "training"
DOCUMENT = "My name is Ada. I live in York."

pytestmark = [
    # Lightning's own advice about loggers, workers and intervals; nothing of it concerns a run of a few steps.
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:.*:UserWarning:lightning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*"),
]


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_checkpoint(tmp_path / "checkpoints", max_document_tokens=4000)


def train(name, checkpoint, *overrides):
    config = ["--config", str(CONFIGS / f"tiny-{name}.yaml"), "--data.init_args.base", str(checkpoint / "base")]
    run(["fit", *config, *overrides, "--trainer.enable_progress_bar=false"])
    written = Path("runs") / f"tiny-{name}" / "last.ckpt"
    run(["export", *config, *overrides, "--ckpt_path", str(written), "--output", str(checkpoint / name)])
    return load(f"{NAME}/{name}", root=checkpoint.parent)


def test_mean_of_training_documents_is_what_every_document_gets(checkpoint):
    mean = train(
        "mean",
        checkpoint,
        f"--model.init_args.start={checkpoint / 'perceiver'}",
        "--model.init_args.rank=null",
        "--data.init_args.documents=3",
        "--model.init_args.max_documents=6",
    )
    assert mean.signature.architecture == "mean"
    assert mean.manifest.training["people"] == 6
    assert mean.manifest.training["origin"]["base_model_digest"] == mean.manifest.base_model_digest
    first, second = (mean.generate(text).adapter for text in (DOCUMENT, "Somebody else altogether."))
    assert first.modules.keys() == second.modules.keys()
    for name, pair in first.folded().modules.items():
        other = second.folded().modules[name]
        torch.testing.assert_close(pair.b @ pair.a, other.b @ other.a)
        assert (pair.b @ pair.a).abs().max() > 0
    mean.close()


def test_documents_that_nothing_is_asked_about_do_not_count(checkpoint):
    from training.chat_format import ChatEncoder, Turn
    from training.finetune_choice import FinetuneChoice
    from training.profiles_data import Case, make_batch

    choice = FinetuneChoice(checkpoint / "base", rank=2, steps=(1,), learning_rates=(1e-3, 1e-2))
    choice.log = lambda *_, **__: None
    said = [Turn(role="user", content="Who are you?"), Turn(role="assistant", content="Ada.")]
    asked = Case(chunks=[DOCUMENT], talks=[said], unrelated=[])
    blank = Case(chunks=["..."], talks=[], unrelated=[said])
    batch = make_batch(ChatEncoder(choice.base_model.tokenizer), [asked, blank])
    choice.training_step(batch, 0)
    assert int(choice.documents) == 1
    assert choice.losses.isfinite().all()


def test_best_way_of_fine_tuning_is_released(checkpoint):
    finetune = train(
        "finetune",
        checkpoint,
        f"--model.init_args.base={checkpoint / 'base'}",
        "--model.init_args.rank=2",
        "--model.init_args.steps=[1,2]",
        "--model.init_args.learning_rates=[0.001,0.01]",
        "--data.init_args.documents=1",
        "--data.init_args.curriculum.first_facts=2",
        "--data.init_args.curriculum.last_facts=2",
        "--model.init_args.max_documents=1",
    )
    state = torch.load("runs/tiny-finetune/last.ckpt", map_location="cpu", weights_only=True)["state_dict"]
    ways = [(steps, rate) for steps in (1, 2) for rate in (0.001, 0.01)]
    config = finetune.hypernetwork.config
    assert (config.steps, config.learning_rate) == ways[int(state["losses"].argmin())]
    assert len(set(state["losses"].tolist())) > 1
    assert finetune.generate(DOCUMENT).adapter.rank == 2
    assert finetune.manifest.training["origin"]["config"]["model"]["init_args"]["rank"] == 2
    finetune.close()
