"""The ablations: every choice names options that exist, and a result is not taken for another's."""

from dataclasses import fields
from inspect import signature

import pytest

from benchmarks import ablations
from training.architectures import Perceiver
from training.hypernetwork_training import HypernetworkTraining
from training.profiles_data import Mixture, ProfileData

KNOWN = {
    "--model.init_args.": set(signature(HypernetworkTraining).parameters),
    "--model.init_args.architecture.init_args.": {field.name for field in fields(Perceiver)},
    "--data.init_args.": set(signature(ProfileData).parameters),
    "--data.init_args.mixture.": {field.name for field in fields(Mixture)},
}


@pytest.mark.parametrize("name", ablations.VARIANTS)
def test_choice_names_options_that_exist(name):
    for override in ablations.VARIANTS[name]:
        option, _, value = override.partition("=")
        place, _, last = option.rpartition(".")
        assert last in KNOWN[f"{place}."]
        assert value


def test_result_of_another_choice_configuration_or_code_is_not_taken(tmp_path, monkeypatch):
    base, code = tmp_path / "base", tmp_path / "code"
    for folder in (base, code):
        folder.mkdir()
    config, weights, module = tmp_path / "config.yaml", base / "model.safetensors", code / "module.py"
    for path in (config, weights, module):
        path.write_text("before")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ablations, "CONFIG", config)
    monkeypatch.setattr(ablations, "BASE", base)
    monkeypatch.setattr(ablations, "CODE", ("code/*.py",))

    seen = {ablations.same("baseline"), ablations.same("rank 4")}
    assert ablations.same("baseline") in seen
    for path in (config, weights, module):
        path.write_text("after")
        seen.add(ablations.same("baseline"))
    assert len(seen) == 5
