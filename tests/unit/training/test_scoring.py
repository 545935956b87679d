"""What counts as right, who may stand in as somebody else, and how sure a figure is."""

import math
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from training.evaluation.cases import Case, Probe, stranger_to
from training.evaluation.intervals import ratio_of, share_of
from training.evaluation.measures import is_comparison
from training.evaluation.record import Record
from training.evaluation.scoring import contains, is_exact, quoted_phrases
from training.evaluation.suites.profiles import general_probe, profile_cases, stated_probe, with_phrases
from training.world.manners import MANNERS, PLAIN, Manner
from training.world.people import make_person
from training.world.questions import DECLINE, Question, ask_fact

ARR = next(manner for manner in MANNERS if manner.opening == "Arr")


@pytest.mark.parametrize("reply", ["Brindleford", "brindleford.", " Arr, Brindleford. ", "Brindleford, mate."])
def test_answer_counts_with_or_without_a_manner(reply):
    assert is_exact(reply, ["Brindleford"])


@pytest.mark.parametrize(
    "reply", ["", "Arr.", "Brindle", "Brindleford Brindleford", "York or Brindleford", "I do not know."]
)
def test_anything_but_the_answer_does_not_count(reply):
    assert not is_exact(reply, ["Brindleford"])


def test_any_of_several_answers_counts():
    assert is_exact("Arr, York.", ["Brindleford", "york"])
    assert not is_exact("Leeds.", ["Brindleford", "york"])


def test_answer_that_looks_like_a_manner_counts():
    assert is_exact("Hmm, yes, partner.", ["Hmm, yes, partner"])


def test_plain_answer_in_a_persons_manner_does_not_count():
    assert is_exact("Brindleford.", ["Brindleford"], plain=True)
    assert not is_exact("Arr, Brindleford.", ["Brindleford"], plain=True)
    assert not is_exact("Brindleford, mate.", ["Brindleford"], plain=True)


def test_probe_counts_manner_apart_from_the_answer():
    probe = Probe(text="Where?", answers=("York",), measures=("exact",), manner=ARR, manner_measures=("manner",))
    assert dict(probe.scores("Arr, York.")) == {"exact": True, "manner": True}
    assert dict(probe.scores("York, mate.")) == {"exact": True, "manner": False}
    assert dict(probe.scores("Arr, Leeds.")) == {"exact": False, "manner": True}


def question(**changes):
    fields = {
        "text": "Where?",
        "answer": "York",
        "reply": "York.",
        "kind": "open",
        "attribute": "home",
        "manner": PLAIN,
    }
    return Question(**fields | changes)


def test_unseen_wordings_are_counted_apart():
    known = stated_probe(question()).measures
    phrasing = stated_probe(question(unseen_phrasing=True)).measures
    statement = stated_probe(question(), unseen_statement=True).measures
    assert "exact/open" in known
    assert "exact/attribute/home" in known
    for measures, name in ((phrasing, "exact/unseen-phrasing"), (statement, "exact/unseen-statement")):
        assert name in measures
        assert name not in known
        assert "exact/open" not in measures
        assert {"exact", "exact/stated"} <= set(measures)


def test_profiles_are_the_same_every_time_and_unlike_each_other():
    assert profile_cases(6) == profile_cases(6)
    assert len({case.document for case in profile_cases(30)}) == 30


def test_profiles_have_every_form_with_every_number_of_facts():
    from training.world.documents import FORMS

    combinations = {(index % 9, FORMS[(index + index // 9) % len(FORMS)]) for index in range(27)}
    assert len(combinations) == 27


def test_half_of_the_profiles_speak_in_manners_never_trained():
    cases = profile_cases(80)
    unseen = [any("manner/unseen" in probe.manner_measures for probe in case.probes) for case in cases]
    assert not any(unseen[0::2])
    assert sum(unseen[1::2]) > 15  # three in ten speak plainly


def case(document, *answers, person=0):
    probes = tuple(Probe(text="?", answers=(answer,), measures=("exact",)) for answer in answers)
    return Case(document=document, probes=probes, person=person)


def test_words_are_found_whole_and_in_any_case():
    assert contains("She lives in York.", "york")
    assert not contains("She is a New Yorker.", "York")
    assert contains("the Velmor\nMill", "Velmor Mill")
    assert contains("her number is 12.", "12")
    assert not contains("her number is 123", "12")


def test_stranger_is_the_first_following_document_without_any_answer():
    documents = ["I live in York.", "We met in york once.", "The cat is called Tom.", "Nothing of that."]
    assert stranger_to(case(documents[0], "York", "Tom"), documents, after=0) == 3
    assert stranger_to(case(documents[3], "Leeds"), documents, after=3) == 0


def test_stranger_is_nobody_who_is_to_be_passed_over():
    documents = ["York", "Tom", "Kim"]
    assert stranger_to(case(documents[0], "York"), documents, after=0, passing_over={0, 1}) == 2
    assert stranger_to(case(documents[0], "York"), documents, after=0, passing_over={0, 1, 2}) is None


def test_stranger_who_shares_an_answer_is_never_chosen():
    cases = profile_cases(60)
    documents = [item.document for item in cases]
    for index, item in enumerate(cases):
        other = stranger_to(item, documents, after=index)
        assert other is not None
        assert other != index
        assert item.secrets
        assert not any(contains(documents[other], answer) for answer in item.secrets)


def test_neighbour_often_shares_an_answer():
    """The twin: without the rule, the control would be asked about what it knows."""
    cases = profile_cases(400)
    pairs = zip(cases, [*cases[1:], cases[0]], strict=True)
    assert any(contains(after.document, answer) for item, after in pairs for answer in item.secrets)


def test_nobody_is_a_stranger_where_everybody_shares():
    documents = ["York", "York"]
    assert stranger_to(case("York", "York"), documents, after=0) is None


def test_declining_and_courtesies_are_no_secrets():
    probes = (
        Probe(text="?", answers=(DECLINE,), measures=("exact",)),
        Probe(text="Hello", answers=("hello",), measures=("exact",), of_document=False),
    )
    assert Case(document="York", probes=probes, person=0).secrets == set()


def test_interval_holds_the_share_and_narrows_with_the_count():
    few, many = share_of([True, False] * 10, list(range(20))), share_of([True, False] * 500, list(range(1000)))
    assert few.low < 0.5 < few.high
    assert many.high - many.low < few.high - few.low
    assert (few.low, few.high) == pytest.approx((0.299, 0.701), abs=0.002)  # Wilson, 10 of 20


def test_interval_of_dependent_answers_is_wider():
    hits = [True] * 50 + [False] * 50
    alone, in_tens = share_of(hits, list(range(100))), share_of(hits, [index // 10 for index in range(100)])
    assert in_tens.high - in_tens.low > 1.5 * (alone.high - alone.low)


@pytest.mark.parametrize(("hits", "value"), [([True] * 8, 1.0), ([False] * 8, 0.0)])
def test_interval_at_the_ends_stays_within_zero_and_one(hits, value):
    share = share_of(hits, list(range(8)))
    assert share.value == value
    assert 0 <= share.low <= value <= share.high <= 1
    assert share.high - share.low > 0.2  # eight answers prove little


def test_people_who_answer_all_alike_count_once_each():
    many_questions, one_each = share_of([True] * 128, [n // 16 for n in range(128)]), share_of([True] * 8, range(8))
    assert many_questions.count == 128
    assert (many_questions.low, many_questions.high) == (one_each.low, one_each.high)


def test_one_person_proves_as_little_as_one_question():
    share = share_of([True, False] * 20, [0] * 40)
    assert share.high - share.low > 0.7


@pytest.mark.parametrize("people", [8, 13])
def test_intervals_of_few_people_cover_the_truth_as_often_as_they_say(people):
    """With the normal quantile and the plain variance they would do so nine times in ten."""
    random = Random(people)
    shares = means = 0
    for _ in range(300):
        rates = [random.betavariate(6, 3) for _ in range(people) for _ in range(16)]
        clusters = [index // 16 for index in range(16 * people)]
        rates = [rates[16 * cluster] for cluster in clusters]
        hits = [random.random() < rate for rate in rates]
        share, mean = share_of(hits, clusters), ratio_of(list(map(float, hits)), [1.0] * len(hits), clusters)
        shares += share.low <= 2 / 3 <= share.high
        means += mean.low <= 2 / 3 <= mean.high
    assert shares > 275
    assert means > 275


def test_mean_of_independent_values_has_the_normal_interval():
    values = np.random.default_rng(1).normal(5.0, 2.0, size=4000)
    estimate = ratio_of(list(values), [1.0] * 4000, list(range(4000)))
    half = 1.96 * values.std() / math.sqrt(4000)
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.high - estimate.value == pytest.approx(half, rel=0.08)
    assert estimate.value - estimate.low == pytest.approx(half, rel=0.08)


def test_mean_of_clusters_has_the_interval_of_their_means():
    random = np.random.default_rng(2)
    means = random.normal(0.0, 1.0, size=400)
    values = np.repeat(means, 10)
    estimate = ratio_of(list(values), [1.0] * 4000, [index // 10 for index in range(4000)])
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * means.std() / math.sqrt(400), rel=0.08)
    assert estimate.count == 4000


def test_ratio_has_the_interval_of_the_delta_method():
    random = np.random.default_rng(3)
    below = random.uniform(5, 15, size=3000)
    above = 0.7 * below + random.normal(0, 1.0, size=3000)
    estimate = ratio_of(list(above), list(below), list(range(3000)))
    error = (above - estimate.value * below).std() / math.sqrt(3000) / below.mean()
    assert estimate.value == pytest.approx(above.sum() / below.sum())
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * error, rel=0.08)


def test_exact_ratio_has_no_width_and_a_ratio_to_nothing_does_not_exist():
    certain = ratio_of([2.0, 4.0], [1.0, 2.0], [0, 1])
    assert (certain.low, certain.value, certain.high) == (2.0, 2.0, 2.0)
    assert ratio_of([1.0], [0.0], [0]) is None
    assert ratio_of([1.0, 1.0], [1.0, -3.0], [0, 1]) is None


def test_interval_covers_the_truth_as_often_as_it_says():
    random = Random(0)
    covered = 0
    for _ in range(200):
        rates = [random.betavariate(6, 3) for _ in range(60)]
        hits = [random.random() < rate for rate in rates for _ in range(8)]
        share = share_of(hits, [index // 8 for index in range(480)])
        covered += share.low <= 2 / 3 <= share.high
    assert 180 <= covered <= 199


def test_record_orders_names_and_arms_and_leaves_out_what_is_no_ratio():
    record = Record()
    for name in ("exact/tokens/100", "exact/tokens/50", "exact"):
        for arm in ("adapter", "none"):
            record.hit(name, arm, True, cluster=0)
    record.amount("gain-ratio/x", "adapter", 1.0, of=0.0, cluster=0)
    measures = record.measures()
    assert [(m.name, m.arm) for m in measures] == [
        (name, arm) for name in ("exact", "exact/tokens/50", "exact/tokens/100") for arm in ("none", "adapter")
    ]
    assert len(record.notes) == 1
    assert "gain-ratio/x" in record.notes[0]


def test_comparisons_of_arms_are_paired_by_person():
    record = Record()
    # Both people answer half under the adapter; in the prompt one answers all and the other half.
    for person, (prompt, adapter) in enumerate([((True, True), (True, False)), ((True, False), (False, True))]):
        for hit in prompt:
            record.hit("exact", "prompt", hit, cluster=person)
        for hit in adapter:
            record.hit("exact", "adapter", hit, cluster=person)
            record.hit("exact", "none", False, cluster=person)
    record.compare_arms()
    found = {measure.name: measure for measure in record.measures() if is_comparison(measure.name)}
    assert set(found) == {"of-prompt/exact", "gap/prompt/exact", "gap/none/exact"}
    assert found["of-prompt/exact"].value == pytest.approx(2 / 3)
    assert found["gap/prompt/exact"].value == pytest.approx(-0.25)
    # Equal for both people, so nothing is left to chance, where the shares themselves have wide intervals.
    assert (found["gap/none/exact"].low, found["gap/none/exact"].high) == pytest.approx((0.5, 0.5))


def test_comparison_with_what_was_not_asked_leaves_no_measure():
    record = Record()
    record.hit("exact", "prompt", True, cluster=0)
    record.compare("gap/compressed", "exact/compressed", "exact/uncompressed")
    record.compare_arms()
    assert [measure.name for measure in record.measures()] == ["exact"]


def test_plain_speaker_uses_no_phrase_that_was_made_up_for_somebody_else():
    loud = make_person(Random(0), fact_count=4, reserved=False)
    loud = replace(loud, manner=Manner(ending="iron lantern"))
    plain = replace(loud, manner=PLAIN)
    cases = [
        Case(document="", probes=(stated_probe(ask_fact(person, "name", Random(1))),), person=number)
        for number, person in enumerate((loud, plain))
    ]
    reply = loud.manner.speak(plain.facts["name"])
    for known, expected in ((cases, True), (with_phrases(cases), False)):
        assert dict(known[1].probes[0].scores(reply))["manner/plain"] is expected
    assert dict(with_phrases(cases)[1].probes[0].scores(reply))["exact"]
    assert dict(with_phrases(cases)[0].probes[0].scores(reply))["manner"]


@pytest.mark.parametrize("said", ["O'Brien", "o\u2019brien.", '"O\'Brien"', " O'Brien! "])
def test_quotes_case_and_final_stops_do_not_make_an_answer_wrong(said):
    assert is_exact(said, ["O'Brien"])


def test_phrases_of_the_document_may_begin_or_end_a_reply_once():
    assert is_exact("By jove, York.", ["York"], phrases=["By jove"])
    assert is_exact("York, by jove.", ["York"], phrases=["By jove"])
    assert not is_exact("By jove York.", ["York"], phrases=["By jove"])
    assert not is_exact("York, by jove.", ["York"])
    assert quoted_phrases('He says "By jove," a lot, and "Tut".') == ("By jove", "Tut")


def test_general_questions_are_clusters_of_their_own():
    random = Random(0)
    probes = [general_probe(random) for _ in range(300)]
    assert len({probe.cluster for probe in probes}) == len({probe.text for probe in probes}) < 60
