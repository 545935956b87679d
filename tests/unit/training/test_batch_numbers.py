"""Which batches of an endless stream are whose."""

from itertools import islice

from training.batch_numbers import BatchNumbers


def taken(count, **options):
    return list(islice(BatchNumbers(**options), count))


def test_a_run_that_goes_on_takes_what_it_would_have_taken():
    for options in ({}, {"batches_a_step": 3}, {"batches_a_step": 2, "processes": 4, "process": 1}):
        a_step = options.get("batches_a_step", 1)
        straight = taken(10 * a_step, **options)
        assert taken(6 * a_step, first_step=4, **options) == straight[4 * a_step :]


def test_processes_share_the_batches_of_a_step_and_take_none_twice():
    each = [taken(6, batches_a_step=2, process=process, processes=3) for process in range(3)]
    assert sorted(number for numbers in each for number in numbers) == list(range(18))
    numbers = BatchNumbers(batches_a_step=2, processes=3)
    assert [numbers.step_of(number) for number in range(18)] == [0] * 6 + [1] * 6 + [2] * 6


def test_without_a_trainer_batches_begin_at_the_first():
    assert list(islice(BatchNumbers.of(None), 3)) == [0, 1, 2]
