"""The curriculum grows as it says."""

from random import Random

from training.curriculum import Curriculum


def test_longest_document_grows_by_one_fact_and_stops_at_the_last():
    curriculum = Curriculum(first_facts=2, last_facts=5, steps_per_fact=10)
    assert [curriculum.longest(step) for step in (0, 9, 10, 29, 30, 1000)] == [2, 2, 3, 4, 5, 5]


def test_draw_stays_between_two_and_the_longest():
    curriculum = Curriculum(first_facts=2, last_facts=8, steps_per_fact=1)
    random = Random(0)
    drawn = [curriculum.draw(100, random) for _ in range(300)]
    assert set(drawn) == set(range(2, 9))
    assert drawn.count(8) > 100
