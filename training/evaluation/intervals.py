"""Confidence intervals for observations that come in clusters: one cluster a person, persona or story."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

_Z = 1.959964
"""Normal quantile of a two-sided 95 % interval."""

_RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure with its 95 % interval.

    Attributes:
        value: the figure.
        count: observations behind it.
        low: lower end of the interval.
        high: upper end.
    """

    value: float
    count: int
    low: float
    high: float


def share_of(hits: Sequence[bool], clusters: Sequence[int]) -> Estimate:
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
    return Estimate(value=value, count=count, low=low, high=high)


def ratio_of(
    numerators: Sequence[float], denominators: Sequence[float], clusters: Sequence[int], *, seed: int = 0
) -> Estimate | None:
    """Sum of ``numerators`` over sum of ``denominators`` with the percentile bootstrap's interval over whole clusters.

    A mean has ones as denominators, a paired difference differences as numerators. Numerator and denominator of an
    observation are resampled together. None if the denominators do not add up to more than zero: there is no such ratio
    then. From a single cluster nothing can be told about others: the interval is the value alone.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 8 and 13.

    Args:
        numerators: one an observation; at least one.
        denominators: one an observation.
        clusters: whose observation each is.
        seed: of the resampling.
    """
    _, places = np.unique(np.asarray(clusters), return_inverse=True)
    size = int(places.max()) + 1
    above, below = np.bincount(places, numerators, size), np.bincount(places, denominators, size)
    if not below.sum() > 0:
        return None
    value = float(above.sum() / below.sum())
    weights = np.random.default_rng(seed).multinomial(size, np.full(size, 1 / size), size=_RESAMPLES)
    totals = weights @ below
    # A resample whose denominators add up to nothing has no ratio; it says how unsure the others are, not what.
    ratios = (weights @ above)[totals > 0] / totals[totals > 0]
    low, high = (float(end) for end in np.percentile(ratios, (2.5, 97.5)))
    return Estimate(value=value, count=len(numerators), low=min(low, value), high=max(high, value))
