"""From nothing to a checkpoint that the generator loads, in miniature; and a killed run that goes on where it stood."""

import json
import os
import signal
import warnings
from pathlib import Path

import pytest
import torch
from lightning.fabric.utilities import move_data_to_device

import hypernet
from hypernet.errors import CheckpointInvalid, CheckpointMismatch
from training.architectures import Perceiver
from training.callbacks import CollapseGuard, Progress
from training.chat_format import Turn
from training.cli import Trainer, main
from training.curriculum import Curriculum
from training.durable_checkpoints import DurableCheckpointIO
from training.hypernetwork_training import HypernetworkTraining
from training.origin import KEY, origin
from training.pretraining import BaseModelPretraining
from training.pretraining_data import PretrainingData
from training.profiles_data import Case, ProfileData, make_batch
from training.rows import write_rows
from training.rows_data import RowsData
from training.template_encoder import TemplateEncoder

TALK = [Turn(role="user", content="Who are you?"), Turn(role="assistant", content="Nobody.")]
SHORT = Curriculum(first_facts=2, last_facts=3, steps_per_fact=1)

pytestmark = [
    # Lightning's own advice about loggers, workers and intervals; nothing of it concerns a run of a few steps.
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:.*:UserWarning:lightning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*"),
]


def trainer(folder: Path, *callbacks, steps: int) -> Trainer:
    from lightning.pytorch.callbacks import ModelCheckpoint

    return Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        enable_model_summary=False,
        limit_val_batches=1,
        val_check_interval=2,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        gradient_clip_val=1.0,
        plugins=[DurableCheckpointIO()],
        callbacks=[
            ModelCheckpoint(dirpath=folder, every_n_train_steps=2, save_last=True, save_top_k=0),
            Progress(every_s=0.0),
            *callbacks,
        ],
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
        public_data=False,
        vocab_size=400,
        context_tokens=512,
        tokens_per_step=300,
        curriculum=SHORT,
        validation_people=4,
        tokenizer_texts=200,
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


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Rows about twenty people, with replies out of character."""
    path = tmp_path_factory.mktemp("rows") / "people.jsonl"
    write_rows(
        path,
        [
            {
                "document": f"My name is person {number}. " * (1 + number % 3),
                "conversation": [
                    {"role": "user", "content": "What is your name?"},
                    {"role": "assistant", "content": f"Person {number}."},
                ],
                "rejected": "I have none.",
            }
            for number in range(20)
        ],
    )
    return path


SMALLEST = Perceiver(width=16, heads=2, blocks=1, mlp_ratio=2, rank=2, bias_rank=1)


def hypernetwork_training(base: Path, architecture=SMALLEST, **weights):
    torch.manual_seed(0)
    return HypernetworkTraining(
        base,
        architecture=architecture,
        chunk_tokens=300,
        max_document_tokens=600,
        warmup_steps=2,
        **weights,
    )


def profiles(base: Path):
    return ProfileData(
        base, public_data=False, curriculum=SHORT, documents=3, questions=3, retention_rows=1, validation_people=32
    )


def rows(base: Path, people: Path):
    return RowsData(
        base, files=[people], documents=4, conversations=2, chunk_tokens=300, validation_share=0.3, test_share=0.2
    )


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
    assert json.loads((base / "training.json").read_text())["steps"] == 4


def test_what_a_chunk_writes_does_not_depend_on_those_beside_it(base):
    model, data = hypernetwork_training(base), profiles(base)
    data.setup("fit")
    texts = [f"My name is person {number}. " + "I live here. " * (7 * number % 11) for number in range(20)]
    with torch.no_grad():
        for parameter in model.hypernetwork.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(0))

    def written(some):
        cases = [Case(chunks=[text], talks=[TALK], unrelated=[TALK]) for text in some]
        return model.generate(make_batch(data.encoder, cases))[0]

    together = written(texts)
    for index, text in enumerate(texts):
        for name, (a, b) in written([text]).items():
            torch.testing.assert_close(together[name][0][index], a[0])
            torch.testing.assert_close(together[name][1][index], b[0])
    # Otherwise one could stand in another's place unnoticed.
    assert (together[name][1][0] - together[name][1][1]).abs().max() > 0.01


def test_hypernetwork_trained_for_every_objective_is_loaded_by_name_and_changes_the_model(
    base, people, tmp_path, capsys
):
    every = {
        "supervised_weight": 0.5,
        "distillation_weight": 0.5,
        "preference_weight": 0.1,
        "other_person_weight": 0.1,
        "l1_weight": 0.1,
    }
    model, data = hypernetwork_training(base, **every), rows(base, people)
    run = trainer(tmp_path, CollapseGuard(every_n_steps=2, grace_steps=100), steps=4)
    run.fit(model, datamodule=data)
    logged = set(run.callback_metrics)
    assert {"reply_loss", "distillation_kl", "preference", "other_person", "retention_kl", "size"} <= logged
    assert {"exact/own", "exact/other", "exact/mean", "loss/own", "loss/mean", "gap/own_mean"} <= logged
    assert {"cosine/documents", "cosine/adapters", "cosine/held_out"} <= logged
    shown = capsys.readouterr().err
    assert "step 4 of 4" in shown
    assert "tokens/s" in shown
    assert "held out exact/own" in shown

    (scores,) = trainer(tmp_path, steps=4).test(model, datamodule=rows(base, people), verbose=False)
    assert 0 <= scores["exact/own"] <= 1

    Trainer(logger=False).export(
        hypernetwork_training(base), rows(base, people), tmp_path / "last.ckpt", base.parent / "perceiver"
    )
    generator = hypernet.load("mini", root=base.parent.parent)
    adapter = generator.generate("My name is Ada Brenn. I live in Velmora.").adapter
    assert any(pair.b.any() for pair in adapter.modules.values())
    assert generator.manifest.training["steps"] == 4
    assert generator.manifest.training["documents_per_step"] == 4


def test_training_starts_from_a_released_hypernetwork(base, people, tmp_path):
    trained, data = hypernetwork_training(base), rows(base, people)
    trainer(tmp_path, steps=2).fit(trained, datamodule=data)
    data.setup("fit")
    trained.export(tmp_path / "perceiver", data=data, steps=2, origin={})

    new, going_on = hypernetwork_training(base), hypernetwork_training(base, start=tmp_path / "perceiver")
    expected = weights(trained)
    assert not all(torch.equal(value, expected[name]) for name, value in weights(new).items())
    for name, value in weights(going_on).items():
        assert torch.equal(value, expected[name]), name
    trainer(tmp_path / "further", steps=2).fit(going_on, datamodule=rows(base, people))
    assert not all(torch.equal(value, expected[name]) for name, value in weights(going_on).items())

    wider = Perceiver(width=32, heads=2, blocks=1, mlp_ratio=2, rank=3, bias_rank=1)
    with pytest.raises(CheckpointMismatch, match=r"differs .* in rank, width"):
        hypernetwork_training(base, start=tmp_path / "perceiver", architecture=wider)


def test_module_takes_its_base_model_and_its_batches_to_the_device(base):
    model, data = hypernetwork_training(base, distillation_weight=1.0), profiles(base)
    data.setup("fit")
    data.teacher_tokens = 1000
    batch = next(iter(data.train_dataloader()))
    model.to("meta")
    held = [*model.base_model.module.parameters(), *model.base_model.module.buffers()]
    assert all(tensor.is_meta for tensor in (*held, *model.parameters()))
    assert str(model.base_model.device) == "meta"
    moved = move_data_to_device(batch, torch.device("meta"))
    parts = (moved.chunks, moved.rows, moved.teacher_rows, moved.retention, (moved.held, moved.weights))
    assert all(part.is_meta for of in parts for part in of if isinstance(part, torch.Tensor))


def test_documents_beyond_the_teachers_context_are_learnt_without_it(base, people, tmp_path):
    model, data = hypernetwork_training(base, distillation_weight=1.0, supervised_weight=0.0), rows(base, people)
    trainer(tmp_path, steps=1).fit(model, datamodule=data)
    assert data.teacher_tokens == model.base_model.max_context_tokens
    with torch.no_grad():
        for parameter in model.hypernetwork.parameters():
            parameter.normal_(std=0.1)
    data.teacher_tokens = 100_000
    whole = next(iter(data.train_dataloader()))
    lengths = (whole.teacher_rows.positions.max(1).values + 1).tolist()
    assert len(set(lengths)) > 1
    data.teacher_tokens = max(lengths) - 1
    some = next(iter(data.train_dataloader()))
    model.log = lambda *_, **__: None
    losses = [float(model.training_step(batch, 0)["loss"].detach()) for batch in (whole, some)]
    assert all(loss == loss for loss in losses)
    assert losses[0] != losses[1]


def test_training_without_retention_talk_and_validation_of_a_single_document_run(base, people, tmp_path):
    data = rows(base, people)
    data.retention_rows, data.negatives = 0, 0.0
    run = trainer(tmp_path, steps=2)
    data.documents = 1
    run.fit(hypernetwork_training(base), datamodule=data)
    assert "exact/own" in run.callback_metrics
    assert "exact/other" not in run.callback_metrics


def test_chat_template_that_forgets_what_was_said_is_refused(base):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = (
        "{% for m in messages %}<{{ m.role }}>{% if loop.last and m.role == 'assistant' %}<think></think>{% endif %}"
        "{{ m.content }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    encoder = TemplateEncoder(tokenizer)
    (one,) = encoder.rows([TALK])
    assert len(one.replies) == 1
    with pytest.raises(CheckpointInvalid, match="conversations of one reply"):
        encoder.rows([[*TALK, *TALK]])


@pytest.mark.parametrize("make", ["pretraining", "profiles", "rows"])
def test_run_that_is_killed_goes_on_bit_for_bit(base, people, tmp_path, make):
    def start():
        if make == "pretraining":
            return pretraining(tmp_path)
        return hypernetwork_training(base), rows(base, people) if make == "rows" else profiles(base)

    straight, data = start()
    trainer(tmp_path / "straight", steps=6).fit(straight, datamodule=data)

    # Killed in its fourth step, with a checkpoint after the second, of a run of six: the schedule knows them all.
    killed, data = start()
    child = os.fork()
    if child == 0:
        try:
            trainer(tmp_path / "killed", _KillAfter(3), steps=6).fit(killed, datamodule=data)
        finally:
            os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL

    resumed, data = start()
    run = trainer(tmp_path / "resumed", steps=6)
    run.fit(resumed, datamodule=data, ckpt_path=tmp_path / "killed" / "last.ckpt")
    assert run.global_step == 6
    expected = weights(straight)
    for name, value in weights(resumed).items():
        assert torch.equal(value, expected[name]), name


def _KillAfter(steps: int):  # noqa: N802  (reads as the class it returns an instance of)
    from lightning.pytorch.callbacks import Callback

    class Kill(Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step >= steps:
                os.kill(os.getpid(), signal.SIGKILL)

    return Kill()


def test_checkpoint_says_where_it_comes_from_and_is_refused_on_another_base_model(base, people, tmp_path):
    from tests.miniature import write_checkpoint

    config = tmp_path / "run.yaml"
    small = {"class_path": "training.architectures.Perceiver", "init_args": {"width": 16, "heads": 2, "blocks": 1}}
    kept = {"dirpath": str(tmp_path), "every_n_train_steps": 1, "save_last": True, "save_top_k": 0}
    written = {
        "model": {
            "class_path": "training.hypernetwork_training.HypernetworkTraining",
            "init_args": {"base": str(base), "architecture": small},
        },
        "data": {
            "class_path": "training.rows_data.RowsData",
            "init_args": {"base": str(base), "files": [str(people)], "documents": 2},
        },
        "trainer": {
            "max_steps": 1,
            "accelerator": "cpu",
            "limit_val_batches": 0,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "default_root_dir": str(tmp_path),
            "logger": False,
            "callbacks": [{"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": kept}],
        },
    }  # fmt: skip
    config.write_text(json.dumps(written))
    main(["fit", "--config", str(config)])
    checkpoint = tmp_path / "last.ckpt"
    found = torch.load(checkpoint, weights_only=True)[KEY]
    data = rows(base, people)
    data.setup("fit")
    assert found["data_digest"] == data.digest
    assert found["config"]["data"]["init_args"]["conversations"] == 6  # a default, resolved
    assert found["code"] == origin(hypernetwork_training(base), data, config={})["code"]
    assert len(found["code"]["sources_digest"]) == 64

    main(["export", "--config", str(config), "--ckpt_path", str(checkpoint), "--output", str(tmp_path / "perceiver")])
    manifest = json.loads((tmp_path / "perceiver" / "manifest.json").read_text())
    assert manifest["training"]["origin"] == found
    assert manifest["base_model_digest"] == found["base_model_digest"]

    other = write_checkpoint(tmp_path / "other") / "base"
    elsewhere = ["--model.init_args.base", str(other), "--data.init_args.base", str(other)]
    for command in (["export", "--output", str(tmp_path / "no")], ["fit"]):
        # The weights fit no other miniature either, but the message must name the true reason.
        with pytest.raises((SystemExit, CheckpointMismatch), match="is for the base model with digest"):
            main([command[0], "--config", str(config), "--ckpt_path", str(checkpoint), *command[1:], *elsewhere])
    assert not (tmp_path / "no" / "manifest.json").exists()
