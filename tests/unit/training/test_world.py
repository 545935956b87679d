"""The made-up world: splits that hold, documents that say what they should, questions with the right answers."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.world import values
from training.world.attributes import ATTRIBUTES, BY_KEY, NAME
from training.world.documents import FORMS, write_document
from training.world.general import FACTS, NUMBERS, sum_question
from training.world.manners import ENDINGS, MANNERS, OPENINGS, PLAIN, strip_manner
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


def test_split_does_not_depend_on_case_or_surrounding_space():
    assert values.is_reserved("Velmora") == values.is_reserved("  vELMORA ")


def test_split_reserves_about_one_value_in_eight():
    random = Random(0)
    share = sum(values.is_reserved(values.town(random)) for _ in range(4000)) / 4000
    assert 0.08 < share < 0.18


@pytest.mark.parametrize("form", FORMS)
def test_document_states_every_fact_and_the_manner(form):
    random = Random(1)
    for _ in range(30):
        person = make_person(random, fact_count=random.randint(1, 12), reserved=False)
        document = write_document(person, random, form=form)
        assert all(value in document for value in person.facts.values())
        assert person.manner.phrase in document


@pytest.mark.parametrize("form", FORMS)
def test_document_has_no_template_marks_left(form):
    random = Random(2)
    for _ in range(100):
        document = write_document(make_person(random, fact_count=12, reserved=False), random, form=form)
        assert not set("{}[]|") & set(document)


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
            if key != "name" and value != person.short_name:
                words = ask_fact(person, key, random).text.lower().rstrip("?.").split()
                assert value.lower() not in words or value.lower() in person.short_name.lower()


def test_interview_asks_no_fact_twice():
    random = Random(7)
    person = make_person(random, fact_count=6, reserved=False)
    for _ in range(50):
        stated = [q.attribute for q in interview(person, random, turns=9) if q.kind in ("open", "closed")]
        assert len(stated) == len(set(stated))


def test_phrasings_kept_for_evaluation_are_never_asked_in_training():
    for attribute in (NAME, *ATTRIBUTES):
        assert not set(attribute.asks) & set(attribute.asks_unseen)
        assert attribute.asks_unseen


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


def test_general_questions_are_all_different():
    assert len({question for question, _ in FACTS}) == len(FACTS)


@given(st.integers())
def test_sum_is_right(seed):
    question, answer = sum_question(Random(seed))
    first, second = question.removeprefix("What is ").removesuffix("?").split(" plus ")
    assert NUMBERS.index(first) + NUMBERS.index(second) == NUMBERS.index(answer)
