"""Confidence intervals for observations that come in clusters: one cluster a person, persona or story."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

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
    one, says how many independent questions they are worth, at most as many as were asked. Where all answers are alike
    there is no telling how alike they are within a person: each person counts once. Few people say little about the
    variance between people: it is raised to what it is expected to be, and Student's quantile takes the normal one's
    place.

    Source: Wilson 1927; Kish, Survey Sampling, 1965 (design effect); Korn and Graubard, Survey Methodology 24, 1998
    (few clusters, shares near 0 and 1).

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
    people, z = len(residuals), _Z
    if people == count:
        effective: float = count
    elif people == 1 or not binomial:
        effective = people
    else:
        effective = count / max(1.0, robust * people / (people - 1) / binomial)
        z = _student(people - 1)
    centre = (value + z**2 / (2 * effective)) / (1 + z**2 / effective)
    half = z / (1 + z**2 / effective) * sqrt(value * (1 - value) / effective + z**2 / (4 * effective**2))
    # At 0 and 1 the ends meet the share up to rounding.
    low, high = max(0.0, min(value, centre - half)), min(1.0, max(value, centre + half))
    return Estimate(value=value, count=count, low=low, high=high)


def ratio_of(
    numerators: Sequence[float], denominators: Sequence[float], clusters: Sequence[int], *, seed: int = 0
) -> Estimate | None:
    """Sum of ``numerators`` over sum of ``denominators`` with the percentile bootstrap's interval over whole clusters.

    A mean has ones as denominators, a paired difference differences as numerators. Numerator and denominator of an
    observation are resampled together. None if the denominators do not add up to more than zero: there is no such ratio
    then. From a single cluster nothing can be told about others: the interval is the value alone. The percentiles are
    taken further out the fewer the clusters, since the bootstrap is too sure of few.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 8 and 13; Hesterberg, The American
    Statistician 69, 2015, section 4.1 (expanded percentiles).

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
    tail = 100 * NormalDist().cdf(-_student(size - 1) * sqrt(size / (size - 1))) if size > 1 else 2.5
    low, high = (float(end) for end in np.percentile(ratios, (tail, 100 - tail)))
    return Estimate(value=value, count=len(numerators), low=min(low, value), high=max(high, value))


def _student(freedom: int) -> float:
    """Student's quantile of a two-sided 95 % interval, to two digits for two degrees of ``freedom`` or more and too
    small for one.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 1964, 26.7.5.
    """
    z = _Z
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    fourth = (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160
    return z + first / freedom + second / freedom**2 + third / freedom**3 + fourth / freedom**4
