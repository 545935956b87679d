"""Fitting: examples are learned, the teacher is heard, the base model and other threads notice nothing."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from hypernet.generators.finetuning import Example, distil, finetune, recital
from hypernet.models import AdaptedModel, SlotBank
from hypernet.models.miniature import miniature_base_model, random_adapter

SETTINGS = {"target_modules": ("down_proj",), "scaling": 2.0, "learning_rate": 0.02, "seed": 0}
TEXT = "I keep bees."


@pytest.fixture(scope="module")
def base():
    return miniature_base_model()


def likelihood(base, adapter, example: Example) -> float:
    """Mean log-probability of the reply."""
    ids = torch.tensor([[*example.prompt_ids, *example.reply_ids]])
    model = AdaptedModel(base, ("down_proj",))
    try:
        lora = {name: (pair.a[None], pair.b[None]) for name, pair in adapter.folded().modules.items()}
        logits = model(ids, torch.ones_like(ids, dtype=torch.bool), lora)[0, len(example.prompt_ids) - 1 : -1]
    finally:
        model.uninstall()
    return float(logits.log_softmax(-1)[range(len(example.reply_ids)), list(example.reply_ids)].mean())


def test_examples_are_learned(base):
    examples = [recital(base, TEXT)]
    little, much = (finetune(base, examples, rank=4, steps=steps, **SETTINGS) for steps in (1, 60))
    assert likelihood(base, much, examples[0]) > likelihood(base, little, examples[0]) + 1


def test_distilled_answers_are_those_of_the_base_model_that_read_the_document(base):
    (example,) = distil(base, TEXT, ["Who?"], max_reply_tokens=5, top_k=3)
    prompt = base.render_chat([{"role": "system", "content": TEXT}, {"role": "user", "content": "Who?"}])
    logits = base.module(torch.tensor([[*prompt, *example.reply_ids]])).logits[0, len(prompt) - 1 : -1]

    assert list(example.reply_ids) == logits.argmax(-1).tolist()
    assert example.prompt_ids == tuple(base.render_chat([{"role": "user", "content": "Who?"}]))
    assert torch.equal(example.teacher.ids[:, 0], logits.argmax(-1))
    assert example.teacher.ids.shape == example.teacher.log_probs.shape == (len(example.reply_ids), 3)


def test_queries_are_answered_together_as_they_are_one_by_one(base):
    queries = ["Who?", "What is it that you keep, and why?", "No"]
    together = distil(base, TEXT, queries, max_reply_tokens=6, top_k=3, batch_queries=2)
    for example, query in zip(together, queries, strict=True):
        (alone,) = distil(base, TEXT, [query], max_reply_tokens=6, top_k=3)
        assert (example.prompt_ids, example.reply_ids) == (alone.prompt_ids, alone.reply_ids)
        assert torch.equal(example.teacher.ids, alone.teacher.ids)
        torch.testing.assert_close(example.teacher.log_probs, alone.teacher.log_probs)


def test_query_without_room_for_an_answer_is_left_out(base):
    assert distil(base, "a" * 250, ["Who?"], max_reply_tokens=5) == []


def test_teacher_is_learned(base):
    examples = distil(base, TEXT, ["Who?", "What?"], max_reply_tokens=5)
    adapter = finetune(base, examples, rank=4, steps=60, **SETTINGS)
    before = finetune(base, examples, rank=4, steps=1, **SETTINGS | {"learning_rate": 1e-9})
    for example in examples:
        assert likelihood(base, adapter, example) > likelihood(base, before, example)


def test_refinement_begins_at_the_start(base):
    start = random_adapter(base, seed=1, rank=4, scaling=2.0)
    untouched = finetune(
        base, [recital(base, TEXT)], rank=4, steps=1, start=start, **SETTINGS | {"learning_rate": 1e-12}
    )
    for name, pair in start.folded().modules.items():
        torch.testing.assert_close(untouched.folded().modules[name].b, pair.b)
        torch.testing.assert_close(untouched.modules[name].a, pair.a)
    with pytest.raises(ValueError, match="rank 4"):
        finetune(base, [recital(base, TEXT)], rank=3, steps=1, start=start, **SETTINGS)


def test_same_arguments_give_the_same_adapter_and_another_seed_another(base):
    examples = [recital(base, TEXT), recital(base, "I fish.")]
    one, again = (finetune(base, examples, rank=2, steps=3, **SETTINGS) for _ in range(2))
    assert one.digest == again.digest
    assert one.digest != finetune(base, examples, rank=2, steps=3, **SETTINGS | {"seed": 1}).digest


def test_fitting_under_an_installed_slot_bank_gives_the_same_adapter(base):
    examples = [recital(base, TEXT)]
    alone = finetune(base, examples, rank=2, steps=3, **SETTINGS)
    bank = SlotBank(base, slots=1, rank=2, target_modules=("down_proj",))
    try:
        assert finetune(base, examples, rank=2, steps=3, **SETTINGS).digest == alone.digest
    finally:
        bank.uninstall()


def test_other_threads_run_the_base_model_meanwhile(base):
    ids = torch.tensor([base.render_document(TEXT)])
    with torch.no_grad():
        bare = base.module(ids).logits
    with ThreadPoolExecutor(1) as pool:
        fitting = pool.submit(finetune, base, [recital(base, TEXT)], rank=4, steps=40, **SETTINGS)
        with torch.no_grad():
            while not fitting.done():
                assert torch.equal(base.module(ids).logits, bare)
        assert any(pair.b.any() for pair in fitting.result().modules.values())


def test_nothing_to_learn_from_is_refused(base):
    with pytest.raises(ValueError, match="at least one example"):
        finetune(base, [], rank=2, steps=1, **SETTINGS)
