"""The registry: four architectures from the start, a fifth in one file, unknown ones named."""

import sys

import pytest

from hypernet.errors import CheckpointInvalid
from hypernet.hypernetworks import PerceiverConfig, PerceiverHypernetwork, architectures, register
from hypernet.hypernetworks.registry import MODULES_VARIABLE, architecture_of, find_architecture

FIFTH = """
from dataclasses import dataclass
from hypernet.hypernetworks import PerceiverConfig, PerceiverHypernetwork, register

@dataclass(frozen=True, kw_only=True)
class FifthConfig(PerceiverConfig):
    petals: int = 5

class Fifth(PerceiverHypernetwork):
    pass

register("fifth", FifthConfig, Fifth)
"""


def test_four_architectures_are_there_from_the_start():
    assert set(architectures()) >= {"perceiver", "mlp", "finetune", "mean"}


def test_registering_the_same_again_changes_nothing_and_other_classes_are_refused():
    register("perceiver", PerceiverConfig, PerceiverHypernetwork)
    assert find_architecture("perceiver").hypernetwork is PerceiverHypernetwork

    class Other(PerceiverHypernetwork):
        pass

    with pytest.raises(ValueError, match="choose another name"):
        register("perceiver", PerceiverConfig, Other)


def test_unknown_architecture_is_named_with_those_there_are():
    with pytest.raises(CheckpointInvalid, match=r"finetune, mean, mlp, perceiver.*'nonesuch'"):
        find_architecture("nonesuch")


def test_module_that_the_variable_names_registers_a_fifth(tmp_path, monkeypatch):
    (tmp_path / "fifth_architecture.py").write_text(FIFTH)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(MODULES_VARIABLE, "fifth_architecture")

    found = find_architecture("fifth")
    assert found.hypernetwork is sys.modules["fifth_architecture"].Fifth
    assert found.config(modules=("a",), d_in=(2,), d_out=(2,), feature_layers=1, feature_size=2, width=4).petals == 5
    assert "fifth" in architectures()


def test_module_that_cannot_be_imported_is_named(monkeypatch):
    monkeypatch.setenv(MODULES_VARIABLE, "no_such_module_at_all")
    with pytest.raises(CheckpointInvalid, match=r"no_such_module_at_all.* cannot be imported"):
        find_architecture("sixth")


@pytest.mark.parametrize("text", ["def", "raise ValueError('no')", "import no_such_module_at_all"])
def test_module_that_fails_while_it_is_imported_is_named(text, tmp_path, monkeypatch):
    (tmp_path / "broken_architecture.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(MODULES_VARIABLE, "broken_architecture")
    with pytest.raises(CheckpointInvalid, match=r"broken_architecture.* cannot be imported"):
        find_architecture("seventh")


def test_architecture_of_a_hypernetwork_is_found_by_its_class():
    config = PerceiverConfig(modules=("a",), d_in=(2,), d_out=(2,), feature_layers=1, feature_size=2, width=4)
    assert architecture_of(PerceiverHypernetwork(config)).name == "perceiver"
