"""Shipped configurations: every one is read, every field says what it is, and none promises more than it fits."""

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser

from hypernet.models import BaseModel
from hypernet.models.miniature import byte_tokenizer
from training.cli import run
from training.pretraining import BaseModelPretraining

CONFIGS = Path(__file__).parents[3] / "configs" / "training"
EVERY = sorted(CONFIGS.glob("*.yaml"))
LARGEST_RELEASED_BYTES = 60_000_000
UNIT = re.compile(
    r"\b(tokens?|steps?|layers|ranks?|number|numbers|0 to 1|1 to 1|weight|nats|seconds|facts|validations)\b"
)
# Lightning's advice about arguments that are not those of the process; here they are pytest's.
pytestmark = pytest.mark.filterwarnings("ignore:.*:UserWarning:lightning")


def classes(value: Any) -> Iterator[str]:
    """Every ``class_path`` in a configuration."""
    if isinstance(value, dict):
        yield from ([value["class_path"]] if "class_path" in value else [])
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from classes(part)


OURS = sorted(
    {name for path in EVERY for name in classes(yaml.safe_load(path.read_text())) if name.startswith("training.")}
)


@pytest.mark.parametrize("config", EVERY, ids=lambda path: path.stem)
def test_shipped_config_is_read(config, capsys):
    with pytest.raises(SystemExit) as exit_:
        run(["fit", "--config", str(config), "--print_config"])
    assert exit_.value.code == 0
    assert "max_steps" in capsys.readouterr().out


@pytest.mark.parametrize("name", OURS)
def test_every_field_says_in_help_what_it_is_and_every_number_its_unit(name):
    module, _, attribute = name.rpartition(".")
    parser = ArgumentParser()
    parser.add_class_arguments(getattr(import_module(module), attribute), "x")
    fields = [action for action in parser._actions if action.dest.startswith("x.")]
    for field in fields:
        assert field.help, field.dest
        kind = getattr(field, "_typehint", None) or field.type
        if kind in (int, float, int | None, float | None):
            assert UNIT.search(field.help), f"{field.dest}: {field.help}"


def test_help_of_the_command_line_shows_the_fields(capsys):
    with pytest.raises(SystemExit):
        run(["fit", "--model.help", "training.hypernetwork_training.HypernetworkTraining"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "longest chunk that a document is read in, in tokens." in shown


@pytest.mark.parametrize("command", ["fit", "validate", "test", "export"])
def test_unknown_key_stops_the_start(tmp_path, capsys, command):
    config = tmp_path / "wrong.yaml"
    config.write_text((CONFIGS / "tiny.yaml").read_text().replace("bias_rank:", "bais_rank:"))
    more = ["--ckpt_path", "x", "--output", "y"] if command == "export" else []
    with pytest.raises(SystemExit):
        run([command, "--config", str(config), *more])
    assert "bais_rank" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["tiny", "small"])
def test_released_base_model_and_hypernetwork_are_small_enough(name):
    base_config = yaml.safe_load((CONFIGS / f"{name}-base.yaml").read_text())["model"]["init_args"]
    with torch.device("meta"):
        pretraining = BaseModelPretraining(**base_config)
        base = BaseModel(pretraining.model, byte_tokenizer(), name=name)
        config = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())["model"]["init_args"]
        module, _, attribute = config["architecture"]["class_path"].rpartition(".")
        architecture = getattr(import_module(module), attribute)(**config["architecture"]["init_args"])
        hypernetwork = architecture.build(base, base.target_shapes(config["target_modules"]))
    width = 2 if base_config.get("export_type") == "bfloat16" else 4
    assert width * sum(p.numel() for p in pretraining.model.parameters()) < LARGEST_RELEASED_BYTES
    assert 4 * sum(p.numel() for p in hypernetwork.parameters()) < LARGEST_RELEASED_BYTES
    if name == "small":
        assert 25e6 < sum(p.numel() for p in pretraining.model.parameters()) < 35e6
