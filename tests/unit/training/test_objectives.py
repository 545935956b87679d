"""What the objectives promise about values and gradients, on random logits."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from training.objectives import (
    TopK,
    distillation_loss,
    other_person_loss,
    preference_loss,
    reply_log_probabilities,
    retention_loss,
    size_of_weights,
    supervised_loss,
    top_k,
)
from training.packing import IGNORED, PackedRows

ROWS, TOKENS, VOCAB = 3, 7, 11
seeds = st.integers(0, 10_000)


def draw(seed: int, *, spread: float = 2.0):
    """Logits of a student and a teacher, and labels with at least one scored token a row."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (spread * torch.randn(ROWS, TOKENS, VOCAB, generator=generator) for _ in range(2))
    labels = torch.randint(VOCAB, (ROWS, TOKENS), generator=generator)
    hidden = torch.rand(ROWS, TOKENS, generator=generator) < 0.5
    hidden[:, 1] = False
    return student.requires_grad_(), teacher, labels.masked_fill(hidden, IGNORED)


def whole_divergence(student, teacher, labels):
    scored = labels != IGNORED
    p = functional.log_softmax(teacher[scored], -1)
    q = functional.log_softmax(student[scored], -1)
    return (p.exp() * (p - q)).sum(-1).mean()


@settings(max_examples=25)
@given(seeds, st.integers(1, VOCAB))
def test_distillation_loss_is_between_nothing_and_the_whole_divergence(seed, k):
    student, teacher, labels = draw(seed)
    loss = distillation_loss(student, labels, top_k(teacher, labels, k=k))
    assert -1e-6 <= loss.item() <= whole_divergence(student, teacher, labels).item() + 1e-5


@settings(max_examples=25)
@given(seeds)
def test_distillation_loss_with_every_token_kept_is_the_whole_divergence(seed):
    student, teacher, labels = draw(seed)
    loss = distillation_loss(student, labels, top_k(teacher, labels, k=10 * VOCAB))
    torch.testing.assert_close(loss, whole_divergence(student, teacher, labels), atol=1e-5, rtol=1e-5)


@settings(max_examples=25)
@given(seeds, st.integers(1, VOCAB))
def test_distillation_loss_and_its_gradient_vanish_where_the_student_is_the_teacher(seed, k):
    _, teacher, labels = draw(seed)
    student = teacher.clone().requires_grad_()
    loss = distillation_loss(student, labels, top_k(teacher, labels, k=k))
    loss.backward()
    assert abs(loss.item()) < 1e-5
    assert student.grad.abs().max() < 1e-5


@settings(max_examples=25)
@given(seeds, st.integers(1, VOCAB - 1))
def test_distillation_loss_does_not_ask_how_the_rest_is_shared_out(seed, k):
    _, teacher, labels = draw(seed)
    best = top_k(teacher, labels, k=k)
    scored = labels != IGNORED
    # The same probability for the kept tokens, the rest of it spread evenly over the others.
    student = teacher.clone()
    log_probabilities = functional.log_softmax(teacher[scored], -1)
    left = log_probabilities.scatter(-1, best.ids, -torch.inf).logsumexp(-1, keepdim=True)
    even = (left - torch.log(torch.tensor(float(VOCAB - k)))).expand_as(log_probabilities)
    student[scored] = even.scatter(-1, best.ids, best.log_probabilities)
    assert abs(distillation_loss(student, labels, best).item()) < 1e-5


@pytest.mark.parametrize("k", [1, 4, VOCAB])
def test_distillation_gradient_is_that_of_finite_differences(k):
    student, teacher, labels = (t.double() if t.is_floating_point() else t for t in draw(0))
    best = top_k(teacher, labels, k=k)

    def loss(values):
        scored = labels != IGNORED
        q = functional.log_softmax(values[scored], -1)
        p = best.log_probabilities.double()
        total = (p.exp() * (p - q.gather(-1, best.ids))).sum(-1)
        if k < VOCAB:
            rest = 1 - p.exp().sum(-1)
            total = total + rest * (rest.log() - (1 - q.gather(-1, best.ids).exp().sum(-1)).log())
        return total.mean()

    expected = torch.autograd.grad(loss(student), student)[0]
    actual = torch.autograd.grad(distillation_loss(student, labels, best), student)[0]
    torch.testing.assert_close(actual.float(), expected.float(), atol=1e-5, rtol=1e-4)


def test_distillation_is_finite_for_a_teacher_and_a_student_that_are_certain_of_different_things():
    labels = torch.tensor([[0, IGNORED]])
    teacher, student = torch.zeros(1, 2, VOCAB), torch.zeros(1, 2, VOCAB)
    teacher[..., 0], student[..., 1] = 500.0, 500.0
    student.requires_grad_()
    loss = distillation_loss(student, labels, top_k(teacher, labels, k=2))
    loss.backward()
    assert loss.item() == pytest.approx(500.0)
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize("objective", ["supervised", "distillation"])
def test_rows_of_no_weight_do_not_count(objective):
    student, teacher, labels = draw(3)

    def loss(logits, weights):
        if objective == "supervised":
            return supervised_loss(logits, labels, weights)
        return distillation_loss(logits, labels, top_k(teacher, labels, k=4), weights)

    (gradient,) = torch.autograd.grad(loss(student, torch.tensor([1.0, 0.0, 2.0])), student)
    assert gradient[0].any()
    assert gradient[2].any()
    assert not gradient[1].any()
    torch.testing.assert_close(loss(student, None), loss(student, torch.full((ROWS,), 0.2)))


@pytest.mark.parametrize("name", ["supervised", "distillation", "retention"])
def test_objective_has_no_gradient_where_nothing_is_labelled(name):
    student, teacher, labels = draw(1)
    loss = {
        "supervised": lambda: supervised_loss(student, labels),
        "distillation": lambda: distillation_loss(student, labels, top_k(teacher, labels, k=4)),
        "retention": lambda: retention_loss(student, teacher, labels),
    }[name]()
    loss.backward()
    unlabelled = labels == IGNORED
    assert student.grad[~unlabelled].any()
    assert not student.grad[unlabelled].any()


def packed(labels, conversations):
    return PackedRows(
        ids=labels.clamp_min(0),
        positions=torch.zeros_like(labels),
        places=torch.zeros_like(labels),
        labels=labels,
        conversations=conversations,
    )


def test_reply_log_probabilities_are_sums_over_each_conversation():
    student, _, _ = draw(2)
    labels = torch.tensor([[1, 2, IGNORED, 3, IGNORED, IGNORED, IGNORED]] * ROWS)
    conversations = torch.tensor([[0, 0, 0, 1, 1, 0, 0]] * ROWS)
    found = reply_log_probabilities(student, packed(labels, conversations))
    log_probabilities = functional.log_softmax(student, -1)
    expected = torch.stack((log_probabilities[:, 0, 1] + log_probabilities[:, 1, 2], log_probabilities[:, 3, 3]), dim=1)
    torch.testing.assert_close(found, expected)


@settings(max_examples=25)
@given(st.floats(-20, 20), st.floats(-20, 20), st.floats(0.01, 2))
def test_preference_loss_is_log_two_where_the_adapter_changes_nothing_and_falls_with_the_gap(chosen, rejected, beta):
    bare = {"bare_chosen": torch.tensor([chosen]), "bare_rejected": torch.tensor([rejected])}
    same = preference_loss(torch.tensor([chosen]), torch.tensor([rejected]), beta=beta, **bare)
    assert same.item() == pytest.approx(0.6931, abs=1e-3)
    better = preference_loss(torch.tensor([chosen + 1]), torch.tensor([rejected]), beta=beta, **bare)
    worse = preference_loss(torch.tensor([chosen]), torch.tensor([rejected + 1]), beta=beta, **bare)
    assert better < same < worse


def test_preference_gradient_raises_the_chosen_and_lowers_the_rejected_alike():
    chosen, rejected = torch.zeros(2, requires_grad=True), torch.zeros(2, requires_grad=True)
    preference_loss(chosen, rejected, bare_chosen=torch.zeros(2), bare_rejected=torch.zeros(2), beta=0.5).backward()
    torch.testing.assert_close(chosen.grad, torch.full((2,), -0.125))  # -beta sigmoid(0) over the two pairs
    torch.testing.assert_close(rejected.grad, -chosen.grad)


def test_adapters_that_are_alike_pay_the_whole_margin_to_the_other_person_loss():
    own = torch.tensor([-1.0, -2.0], requires_grad=True)
    assert other_person_loss(own, own.detach(), margin=1.0).item() == pytest.approx(1.3133, abs=1e-3)
    assert other_person_loss(own, own.detach() - 9, margin=1.0).item() < 1e-3
    other_person_loss(own, own.detach(), margin=1.0).backward()
    assert (own.grad < 0).all()


@settings(max_examples=25)
@given(seeds)
def test_size_of_weights_is_zero_for_no_update_and_grows_with_it(seed):
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, 4, 5, generator=generator), torch.randn(2, 6, 4, generator=generator)
    b.requires_grad_()
    assert size_of_weights({"x": (a, torch.zeros_like(b))}).item() == 0.0
    size_of_weights({"x": (a, b), "y": (a, 2 * b)}).backward()
    torch.testing.assert_close(b.grad, 1.5 * b.detach().sign() / b.numel())


def test_top_k_is_in_the_order_of_the_labelled_tokens():
    _, teacher, labels = draw(4)
    best = top_k(teacher, labels, k=2)
    assert isinstance(best, TopK)
    first = int((labels[0] != IGNORED).nonzero()[0])
    torch.testing.assert_close(best.ids[0], teacher[0, first].topk(2).indices)
