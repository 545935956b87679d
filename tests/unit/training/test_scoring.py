"""What counts as right, and how sure a share is."""

import pytest

from training.evaluation.intervals import share_of
from training.evaluation.scoring import has_manner, is_exact, measures_of
from training.world.manners import MANNERS, PLAIN
from training.world.questions import Question

ARR = next(manner for manner in MANNERS if manner.opening == "Arr")


def question(**changes):
    fields = {"text": "Where?", "answer": "Brindleford", "reply": "Arr, Brindleford.", "kind": "open", "manner": ARR}
    return Question(**fields | changes)


@pytest.mark.parametrize("reply", ["Brindleford", "brindleford.", " Arr, Brindleford. ", "Brindleford, mate."])
def test_answer_counts_with_or_without_a_manner(reply):
    assert is_exact(reply, question())


@pytest.mark.parametrize(
    "reply", ["", "Arr.", "Brindle", "Brindleford Brindleford", "York or Brindleford", "I do not know."]
)
def test_anything_but_the_answer_does_not_count(reply):
    assert not is_exact(reply, question())


def test_general_answer_in_a_persons_manner_does_not_count():
    general = question(kind="general", manner=PLAIN)
    assert is_exact("Brindleford.", general)
    assert not is_exact("Arr, Brindleford.", general)
    assert not is_exact("Brindleford, mate.", general)


def test_manner_is_the_persons_own():
    assert has_manner("Arr, York.", question())
    assert not has_manner("York, mate.", question())
    assert not has_manner("York.", question())


def test_unseen_phrasings_are_counted_apart():
    assert "exact/open" in measures_of(question(attribute="home"))
    assert "exact/open" not in measures_of(question(attribute="home", unseen_phrasing=True))
    assert "exact/unseen-phrasing" in measures_of(question(attribute="home", unseen_phrasing=True))


def test_general_questions_do_not_count_towards_the_person():
    assert measures_of(question(kind="general", manner=PLAIN)) == ["exact/general"]


def test_interval_holds_the_share_and_narrows_with_the_count():
    few, many = share_of([True, False] * 10, list(range(20))), share_of([True, False] * 500, list(range(1000)))
    assert few.low < 0.5 < few.high
    assert many.high - many.low < few.high - few.low
    assert (few.low, few.high) == pytest.approx((0.299, 0.701), abs=0.002)  # Wilson, 10 of 20


def test_interval_of_dependent_answers_is_wider():
    hits = [True] * 50 + [False] * 50
    apart = share_of(hits, list(range(100)))
    together = share_of(hits, [index // 10 for index in range(100)])
    assert together.high - together.low > 1.5 * (apart.high - apart.low)


def test_share_of_all_right_is_not_certain():
    share = share_of([True] * 30, list(range(30)))
    assert share.value == share.high == 1.0
    assert 0.85 < share.low < 0.95
