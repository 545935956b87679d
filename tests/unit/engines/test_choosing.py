import pytest
import torch

from hypernet.engines import Sampling
from hypernet.engines.choosing import Chooser, choose
from hypernet.errors import InvalidRequest


def chooser(**options: float) -> Chooser:
    return Chooser(Sampling(**options))  # type: ignore[arg-type]


def test_choosing_at_temperature_zero_takes_the_greatest() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [5.0, 3.0, 1.0]])
    assert choose(logits, [chooser(), chooser()]) == [1, 0]


def test_choosing_gives_none_for_rows_that_are_empty_or_not_finite() -> None:
    nan, inf = float("nan"), float("inf")
    logits = torch.tensor([[0.0, nan], [inf, 0.0], [-inf, -inf], [1.0, 0.0], [-inf, 0.0]])
    assert choose(logits, [chooser(), chooser(), chooser(), None, chooser()]) == [None, None, None, None, 1]


def test_choosing_with_a_seed_is_repeatable_and_depends_on_the_seed() -> None:
    logits = torch.zeros(1, 50)
    draws = [
        [choose(logits, [each])[0] for _ in range(20)] for each in (chooser(temperature=1, seed=s) for s in (1, 1, 2))
    ]
    assert draws[0] == draws[1] != draws[2]


def test_choosing_does_not_depend_on_other_rows() -> None:
    row = torch.randn(1, 50)
    alone = chooser(temperature=1, seed=3)
    among, other = chooser(temperature=1, seed=3), chooser(temperature=2, seed=4)
    for _ in range(10):
        assert choose(row, [alone])[0] == choose(torch.cat([torch.randn(1, 50), row]), [other, among])[1]


def test_choosing_draws_with_the_probabilities_of_the_model() -> None:
    logits = torch.tensor([[1.0, 0.0, -1.0]])
    drawer = chooser(temperature=0.5, seed=0)
    counts = torch.bincount(torch.tensor([choose(logits, [drawer])[0] for _ in range(1000)]), minlength=3)
    torch.testing.assert_close(counts / 1000, (logits[0] / 0.5).softmax(-1), atol=0.05, rtol=0)


def test_choosing_with_top_p_leaves_out_the_unlikely_and_always_keeps_one() -> None:
    logits = torch.tensor([[3.0, 2.0, 0.0, -9.0]])
    drawer = chooser(temperature=1, top_p=0.9, seed=0)
    assert {choose(logits, [drawer])[0] for _ in range(300)} == {0, 1}
    narrow = chooser(temperature=1, top_p=1e-9, seed=0)
    assert {choose(logits, [narrow])[0] for _ in range(50)} == {0}


def test_choosing_survives_extreme_temperatures() -> None:
    logits = torch.tensor([[300.0, -300.0, 0.0]])
    assert choose(logits, [chooser(temperature=1e-300, seed=0)]) == [0]
    assert choose(logits, [chooser(temperature=1e300, seed=0)])[0] in {0, 1, 2}


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("max_tokens", 0),
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("stop", ("a", "")),
        ("seed", -1),
    ],
)
def test_sampling_out_of_range_is_refused_by_name(parameter: str, value: object) -> None:
    with pytest.raises(InvalidRequest, match=parameter) as caught:
        Sampling(**{parameter: value})  # type: ignore[arg-type]
    assert caught.value.param == parameter
