"""Confidence intervals for shares of questions that come in clusters, one cluster a person."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

_Z = 1.959964
"""Normal quantile of a two-sided 95 % interval."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """A share with its 95 % interval.

    Attributes:
        value: share of hits, 0 to 1.
        count: questions.
        low: lower end of the interval.
        high: upper end.
    """

    value: float
    count: int
    low: float
    high: float


def share_of(hits: Sequence[bool], clusters: Sequence[int]) -> Share:
    """Share of ``hits`` with Wilson's interval at the effective sample size.

    Answers about one person are not independent: the design effect, the cluster-robust variance over the binomial
    one, says how many independent questions they are worth, at most as many as were asked.

    Source: Wilson 1927; Kish, Survey Sampling, 1965 (design effect).

    Args:
        hits: whether each question was answered right; at least one.
        clusters: which person each question is about.
    """
    count = len(hits)
    value = sum(hits) / count
    residuals: dict[int, float] = defaultdict(float)
    for hit, cluster in zip(hits, clusters, strict=True):
        residuals[cluster] += hit - value
    binomial = value * (1 - value) / count
    robust = sum(r * r for r in residuals.values()) / count**2
    effective = count / max(1.0, robust / binomial) if binomial else count
    centre = (value + _Z**2 / (2 * effective)) / (1 + _Z**2 / effective)
    half = _Z / (1 + _Z**2 / effective) * sqrt(value * (1 - value) / effective + _Z**2 / (4 * effective**2))
    # At 0 and 1 the ends meet the share up to rounding.
    low, high = max(0.0, min(value, centre - half)), min(1.0, max(value, centre + half))
    return Share(value=value, count=count, low=low, high=high)
