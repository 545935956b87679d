"""The strength of a checkpoint: recall against retention."""

import json
from dataclasses import replace

import pytest

from hypernet.generators import load
from tests.miniature import NAME, write_checkpoint
from training.calibration import STRENGTHS, Tried, best, set_strength, try_strengths
from training.evaluation.intervals import share_of
from training.template_encoder import TemplateEncoder


def tried(*figures):
    return [
        Tried(strength=strength, recall=recall, general=general, general_high=general, divergence=divergence)
        for strength, recall, general, divergence in figures
    ]


def test_strength_that_costs_general_knowledge_is_not_chosen():
    choice = best(tried((0.0, 0.0, 1.0, 0.0), (1.0, 0.90, 0.995, 0.01), (2.0, 0.99, 0.80, 0.4)))
    assert choice.strength == 1.0


def test_least_divergence_is_chosen_among_strengths_that_recall_alike():
    choice = best(tried((0.0, 0.0, 1.0, 0.0), (0.8, 0.948, 1.0, 0.01), (1.0, 0.95, 1.0, 0.02), (1.2, 0.951, 1.0, 0.05)))
    assert choice.strength == 0.8


def test_strength_that_keeps_most_is_chosen_where_none_keeps_enough():
    choice = best(tried((0.0, 0.0, 1.0, 0.0), (0.5, 0.3, 0.6, 0.1), (1.0, 0.9, 0.4, 0.2)))
    assert choice.strength == 0.5


def test_strength_is_not_refused_for_a_slip_that_few_questions_cannot_tell_from_chance():
    bare, half, full = tried((0.0, 0.0, 1.0, 0.0), (0.5, 0.6, 1.0, 0.01), (1.0, 0.9, 0.984, 0.02))
    assert best([bare, half, full]).strength == 0.5
    assert best([bare, half, replace(full, general_high=0.998)]).strength == 1.0


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("checkpoints"))


def test_strengths_are_tried_under_the_base_models_own_chat_template(checkpoint, monkeypatch):
    from training import calibration

    taken = []
    monkeypatch.setattr(calibration, "_people", lambda encoder, **_: taken.append(encoder) or [])
    monkeypatch.setattr(calibration, "_try", lambda *_: tried((1.0, 0.0, 0.0, 0.0))[0])
    generator = load(NAME, root=checkpoint.parent)
    tokenizer = generator.base.tokenizer
    tokenizer.chat_template = tokenizer.chat_template + " "
    try_strengths(generator)
    generator.close()
    assert isinstance(taken[0], TemplateEncoder)


def test_calibration_is_written_into_the_manifest_and_counts_from_then_on(checkpoint):
    generator = load(NAME, root=checkpoint.parent)
    before = generator.digest
    figures = try_strengths(generator, people=32, facts=3)
    generator.close()
    assert [one.strength for one in figures] == list(STRENGTHS)
    assert figures[0].divergence == pytest.approx(0.0, abs=1e-5)
    assert figures[-1].divergence > figures[0].divergence
    assert all(0.0 <= one.general <= one.general_high <= 1.0 for one in figures)
    # Nothing is known by a model without training. Sixty-four answers, to some of fifty questions, count for fewer.
    assert figures[0].general == 0.0
    assert figures[0].general_high > share_of([False] * 64, range(64)).high

    chosen = set_strength(checkpoint / "perceiver", tried((0.0, 0.0, 1.0, 0.0), (0.8, 0.9, 1.0, 0.0)))
    again = load(NAME, root=checkpoint.parent)
    assert again.strength == chosen.strength == 0.8
    assert again.digest != before
    again.close()
    manifest = json.loads((checkpoint / "perceiver" / "manifest.json").read_text(encoding="utf-8"))
    assert [one["strength"] for one in manifest["training"]["calibration"]] == [0.0, 0.8]
