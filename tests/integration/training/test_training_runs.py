"""From nothing to a checkpoint that the generator loads, in miniature; and a killed run that goes on where it stood."""

import warnings
from pathlib import Path

import pytest
import torch

import hypernet
from training.cli import Trainer, TrainingCLI
from training.curriculum import Curriculum
from training.hypernetwork_training import PerceiverTraining
from training.pretraining import BaseModelPretraining
from training.pretraining_data import PretrainingData
from training.profiles_data import ProfileData

CONFIGS = Path(__file__).parents[3] / "configs" / "training"
SHORT = Curriculum(first_facts=2, last_facts=3, steps_per_fact=1)

pytestmark = [
    # Lightning's own advice about loggers, workers and intervals; nothing of it concerns a run of a few steps.
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:.*:UserWarning:lightning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*"),
]


def trainer(folder: Path, *, steps: int) -> Trainer:
    from lightning.pytorch.callbacks import ModelCheckpoint

    return Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=1,
        val_check_interval=2,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        gradient_clip_val=1.0,
        callbacks=[ModelCheckpoint(dirpath=folder, every_n_train_steps=2, save_last=True, save_top_k=0)],
    )


def pretraining(work: Path):
    torch.manual_seed(0)
    model = BaseModelPretraining(
        vocab_size=400,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        context_tokens=512,
        warmup_steps=2,
    )
    data = PretrainingData(
        work,
        real_conversation=False,
        vocab_size=400,
        context_tokens=512,
        tokens_per_step=300,
        curriculum=SHORT,
        validation_people=4,
    )
    return model, data


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A base model, trained for four steps and exported as ``mini/base``."""
    folder = tmp_path_factory.mktemp("pretraining")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, data = pretraining(folder)
        trainer(folder, steps=4).fit(model, datamodule=data)
        fresh, data = pretraining(folder)
        Trainer(logger=False).export(fresh, data, folder / "last.ckpt", folder / "mini" / "base")
    return folder / "mini" / "base"


def hypernetwork_training(base: Path):
    torch.manual_seed(0)
    model = PerceiverTraining(
        base, width=16, heads=2, blocks=1, mlp_ratio=2, rank=2, bias_rank=1, max_document_tokens=300, warmup_steps=2
    )
    data = ProfileData(
        base,
        real_conversation=False,
        curriculum=SHORT,
        documents=3,
        questions=3,
        retention_rows=1,
        validation_people=32,
    )
    return model, data


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_exported_base_model_is_loaded_by_transformers_alone(base):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(base), AutoTokenizer.from_pretrained(base)
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Who are you?"}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )["input_ids"]
    assert model(ids).logits.shape == (1, ids.shape[1], 400)
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id


def test_trained_hypernetwork_is_loaded_by_name_and_changes_the_model(base, tmp_path):
    model, data = hypernetwork_training(base)
    trainer(tmp_path, steps=4).fit(model, datamodule=data)
    fresh, data = hypernetwork_training(base)
    Trainer(logger=False).export(fresh, data, tmp_path / "last.ckpt", base.parent / "perceiver")

    generator = hypernet.load("mini", root=base.parent.parent)
    adapter = generator.generate("My name is Ada Brenn. I live in Velmora.").adapter
    assert any(pair.b.any() for pair in adapter.modules.values())
    assert generator.manifest.training["steps"] == 4


@pytest.mark.parametrize("make", ["pretraining", "hypernetwork"])
def test_killed_run_goes_on_bit_for_bit(base, tmp_path, make):
    def start():
        return pretraining(tmp_path) if make == "pretraining" else hypernetwork_training(base)

    straight, data = start()
    trainer(tmp_path / "straight", steps=4).fit(straight, datamodule=data)
    # "Killed" after two steps of the same four-step run: the schedule knows the whole length.
    killed, data = start()
    stopped = trainer(tmp_path / "killed", steps=4)
    stopped.callbacks.append(_StopAfter(2))
    stopped.fit(killed, datamodule=data)
    resumed, data = start()
    trainer(tmp_path / "resumed", steps=4).fit(resumed, datamodule=data, ckpt_path=tmp_path / "killed" / "last.ckpt")

    expected = weights(straight)
    for name, value in weights(resumed).items():
        assert torch.equal(value, expected[name]), name


def _StopAfter(steps: int):  # noqa: N802  (reads as the class it returns an instance of)
    from lightning.pytorch.callbacks import Callback

    class Stop(Callback):
        def on_train_batch_end(self, trainer, *_):
            trainer.should_stop = trainer.global_step >= steps

    return Stop()


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_config_is_read(config, capsys):
    with pytest.raises(SystemExit) as exit_:
        TrainingCLI(trainer_class=Trainer, args=["fit", "--config", str(config), "--print_config"])
    assert exit_.value.code == 0
    assert "max_steps" in capsys.readouterr().out


def test_unknown_key_stops_the_start(tmp_path, capsys):
    config = tmp_path / "wrong.yaml"
    config.write_text((CONFIGS / "tiny.yaml").read_text().replace("bias_rank:", "bais_rank:"))
    with pytest.raises(SystemExit):
        TrainingCLI(trainer_class=Trainer, args=["fit", "--config", str(config)])
    assert "bais_rank" in capsys.readouterr().err
