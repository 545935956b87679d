"""The made-up world: splits that hold, documents that say what they should, questions with the right answers."""

import re
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.world import values
from training.world.attributes import ATTRIBUTES, BY_KEY, NAME
from training.world.documents import FORMS, write_document, write_profile
from training.world.general import FACTS, NUMBERS, calibration_question, general_question, sum_question
from training.world.manners import ENDINGS, MANNERS, OPENINGS, PLAIN, draw_manner, made_up_manner, strip_manner
from training.world.people import make_person
from training.world.questions import DECLINE, ask_absent, ask_fact, interview, small_talk


@pytest.mark.parametrize("reserved", [True, False])
def test_person_draws_every_open_value_from_the_asked_side_of_the_split(reserved):
    random = Random(0)
    for _ in range(50):
        person = make_person(random, fact_count=12, reserved=reserved)
        opened = [value for key, value in person.facts.items() if BY_KEY[key].is_open]
        assert opened
        assert all(values.is_reserved(value) == reserved for value in opened)


def test_reserved_word_is_in_no_value_of_training_whatever_it_is_part_of():
    random = Random(0)
    for _ in range(300):
        for key, value in make_person(random, fact_count=20, reserved=False).facts.items():
            names = value.split()[:2] if BY_KEY[key].make is values.full_name else value.split()[:1]
            assert not BY_KEY[key].is_open or not any(values.is_reserved(name) for name in names)


def test_split_does_not_depend_on_case_or_surrounding_space():
    assert values.is_reserved("Velmora") == values.is_reserved("  vELMORA ")


def test_split_reserves_about_one_value_in_eight():
    share = sum(values.is_reserved(str(index)) for index in range(4000)) / 4000
    assert 0.08 < share < 0.18


@pytest.mark.parametrize("form", FORMS)
def test_document_states_every_fact_and_the_manner(form):
    random = Random(1)
    for _ in range(30):
        person = make_person(random, fact_count=random.randint(1, 12), reserved=False)
        document = write_document(person, random, form=form)
        # A value may begin a sentence, and with a capital letter.
        assert all(value.lower() in document.lower() for value in person.facts.values())
        assert person.manner.phrase in document


@pytest.mark.parametrize("form", FORMS)
def test_document_has_no_template_marks_left(form):
    random = Random(2)
    for _ in range(100):
        document = write_document(make_person(random, fact_count=12, reserved=False), random, form=form)
        assert not set("{}[]|") & set(document), document


def test_person_has_no_two_equal_values():
    random = Random(3)
    for _ in range(200):
        person = make_person(random, fact_count=12, reserved=False)
        assert len(set(person.facts.values())) == len(person.facts)


def test_question_about_a_stated_fact_is_answered_with_its_value():
    random = Random(4)
    person = make_person(random, fact_count=12, reserved=False)
    for key, value in person.facts.items():
        question = ask_fact(person, key, random)
        assert question.answer == value
        assert question.reply == person.manner.speak(value)
        assert question.kind == ("open" if BY_KEY[key].is_open else "closed")


def test_question_about_what_is_not_stated_is_declined():
    random = Random(5)
    person = make_person(random, fact_count=4, reserved=False)
    question = ask_absent(person, random)
    assert question.attribute not in person.facts
    assert (question.answer, question.kind) == (DECLINE, "unanswerable")


def test_no_question_text_holds_the_answer():
    random = Random(6)
    for _ in range(200):
        person = make_person(random, fact_count=12, reserved=False)
        for key, value in person.facts.items():
            # A word of a closed set may be a word of a question: "kind", in "what kind of".
            if BY_KEY[key].is_open and key != "name" and value != person.short_name:
                words = ask_fact(person, key, random).text.lower().rstrip("?.").split()
                assert value.lower() not in words or value.lower() in person.short_name.lower() or len(value) < 3


def test_interview_asks_no_fact_twice():
    random = Random(7)
    person = make_person(random, fact_count=6, reserved=False)
    for _ in range(50):
        stated = [q.attribute for q in interview(person, random, turns=9) if q.kind in ("open", "closed")]
        assert len(stated) == len(set(stated))


def test_wordings_kept_for_evaluation_are_never_used_in_training():
    for attribute in (NAME, *ATTRIBUTES):
        for seen, unseen in (
            (attribute.asks, attribute.asks_unseen),
            (attribute.states, attribute.states_unseen),
            (attribute.labels, attribute.labels_unseen),
        ):
            assert not {text.lower() for text in seen} & {text.lower() for text in unseen}
            assert unseen


@pytest.mark.parametrize("field", ["asks", "labels", "states"])
def test_no_two_attributes_share_a_wording(field):
    wordings = [
        text.lower()
        for attribute in (NAME, *ATTRIBUTES)
        for text in {*getattr(attribute, field), *getattr(attribute, f"{field}_unseen")}
    ]
    assert len(set(wordings)) == len(wordings)


def test_no_two_attributes_share_a_closed_value():
    choices = [choice for attribute in ATTRIBUTES for choice in attribute.choices]
    assert len(set(choices)) == len(choices)


def test_document_in_unseen_wordings_says_which_facts_have_them():
    random = Random(9)
    for form in FORMS:
        person = make_person(random, fact_count=12, reserved=True)
        assert write_profile(person, random, form=form, unseen_share=1.0).unseen_statements == set(person.facts) - {
            "name"
        }
        assert not write_profile(person, random, form=form).unseen_statements


@pytest.mark.parametrize("reserved", [True, False])
def test_manner_is_drawn_from_the_asked_side_of_the_split(reserved):
    random = Random(10)
    drawn = {draw_manner(random, reserved=reserved) for _ in range(6000)} - {PLAIN}
    assert {manner for manner in drawn if manner.is_listed} == {m for m in MANNERS if m.is_reserved == reserved}
    assert all(manner.is_reserved == reserved for manner in drawn)
    # Evaluation has phrases written by hand; training makes up as many again, hardly one of them twice.
    assert all(manner.is_listed for manner in drawn) == reserved
    assert reserved or len(drawn) > 1500


def test_made_up_manner_is_recognised_and_has_words_alone():
    random = Random(12)
    for _ in range(500):
        manner = made_up_manner(random)
        assert manner.marks(manner.speak("rye bread"))
        assert bool(manner.opening) != bool(manner.ending)
        assert re.fullmatch(r"[A-Za-z' ]+", manner.phrase), manner.phrase
        assert not manner.marks("Rye bread.")
    # Phrases of evaluation begin with words that none of training begins with, so copying must not need a list.
    firsts = [made_up_manner(random).phrase.split()[0].lower() for _ in range(1000)]
    assert len(set(firsts)) > 400


@pytest.mark.parametrize("manner", [*MANNERS, PLAIN])
def test_manner_is_recognised_and_taken_off_again(manner):
    reply = manner.speak("rye bread")
    assert manner.marks(reply)
    assert strip_manner(reply) == "rye bread"


@pytest.mark.parametrize("manner", MANNERS)
def test_manner_is_not_recognised_in_another_manners_reply(manner):
    for other in (*MANNERS, PLAIN):
        if other != manner:
            assert not manner.marks(other.speak("rye bread"))


def test_manners_are_distinct():
    phrases = [*OPENINGS, *ENDINGS]
    assert len({phrase.lower() for phrase in phrases}) == len(phrases)


def test_small_talk_shows_the_manner():
    random = Random(8)
    person = make_person(random, fact_count=3, reserved=False)
    assert small_talk(person, random).manner == person.manner


def test_general_questions_of_training_calibration_and_evaluation_are_apart():
    random = Random(11)
    training = {general_question(random, reserved=False)[0] for _ in range(8000)}
    evaluation = {general_question(random, reserved=True)[0] for _ in range(2000)}
    calibration = {calibration_question(random)[0] for _ in range(2000)}
    assert not training & evaluation | training & calibration | evaluation & calibration
    assert {question for question, _ in FACTS} <= training | evaluation | calibration


def test_general_questions_are_all_different():
    assert len({question for question, _ in FACTS}) == len(FACTS)


@given(st.integers())
def test_sum_is_right(seed):
    question, answer = sum_question(Random(seed))
    first, second = question.removeprefix("What is ").removesuffix("?").split(" plus ")
    assert NUMBERS.index(first) + NUMBERS.index(second) == NUMBERS.index(answer)
