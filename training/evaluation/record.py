"""Observations as a suite makes them, and the measures that they come to."""

from collections import defaultdict
from dataclasses import asdict

from training.evaluation.intervals import Estimate, ratio_of, share_of
from training.evaluation.measures import ARMS, OF_PROMPT, Arm, Measure, is_comparison


class Record:
    """Collects observations by measure and arm; every observation belongs to a cluster, mostly a person."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._hits: dict[tuple[str, Arm], list[tuple[bool, int]]] = defaultdict(list)
        self._amounts: dict[tuple[str, Arm], list[tuple[float, float, int]]] = defaultdict(list)

    def hit(self, name: str, arm: Arm, hit: bool, *, cluster: int) -> None:
        """A question answered right or wrong; the measure is a share."""
        self._hits[name, arm].append((hit, cluster))

    def amount(self, name: str, arm: Arm, value: float, *, of: float = 1.0, cluster: int) -> None:
        """``value`` for ``of`` units; the measure is the sum of values over the sum of units: a mean, or a ratio."""
        self._amounts[name, arm].append((value, of, cluster))

    def note(self, text: str) -> None:
        """Something that readers of the figures have to know; said once, however often it is noted."""
        if text not in self.notes:
            self.notes.append(text)

    def totals(self, name: str, arm: Arm) -> dict[int, tuple[int, int]]:
        """For each cluster of a share, hits and questions."""
        found: dict[int, tuple[int, int]] = {}
        for hit, cluster in self._hits.get((name, arm), []):
            hits, questions = found.get(cluster, (0, 0))
            found[cluster] = (hits + hit, questions + 1)
        return found

    def compare(
        self, name: str, share: str, with_share: str, *, arm: Arm = "adapter", with_arm: Arm = "adapter"
    ) -> None:
        """A measure under the arm ``adapter``: how much higher the first share is than the second, whose questions are
        the same ones, cluster by cluster. Nothing if either was not asked about.
        """
        first, second = self.totals(share, arm), self.totals(with_share, with_arm)
        for cluster, (hits, questions) in first.items():
            if cluster in second:
                gap = hits - second[cluster][0] * questions / second[cluster][1]
                self.amount(name, "adapter", gap, of=questions, cluster=cluster)

    def compare_arms(self) -> None:
        """For every share of right answers, what the arm ``adapter`` reaches of what ``prompt`` does
        (``of-prompt/...``), and how far it is above ``prompt`` and ``none`` (``gap/prompt/...``, ``gap/none/...``).
        """
        for name in dict.fromkeys(name for name, arm in self._hits if arm == "prompt"):
            ours = self.totals(name, "adapter")
            for cluster, (hits, _) in self.totals(name, "prompt").items():
                if cluster in ours:
                    self.amount(f"{OF_PROMPT}/{name}", "adapter", ours[cluster][0], of=hits, cluster=cluster)
            for control in ("prompt", "none"):
                self.compare(f"gap/{control}/{name}", name, name, with_arm=control)

    def measures(self) -> tuple[Measure, ...]:
        """All figures: names in order, arms in theirs. A ratio to nothing is left out, with a note."""
        estimates: dict[tuple[str, Arm], Estimate] = {}
        for key, hits in self._hits.items():
            estimates[key] = share_of([hit for hit, _ in hits], [cluster for _, cluster in hits])
        for key, amounts in self._amounts.items():
            values, units, clusters = zip(*amounts, strict=True)
            estimate = ratio_of(values, units, clusters)
            if estimate is None and not is_comparison(key[0]):
                self.note(f"{key[0]} is left out for the arm {key[1]}: what it would be a ratio to is not positive.")
            elif estimate is not None:
                estimates[key] = estimate
        places = {arm: place for place, arm in enumerate(ARMS)}
        ordered = sorted(estimates, key=lambda key: (_by_parts(key[0]), places[key[1]]))
        return tuple(Measure(name=name, arm=arm, **asdict(estimates[name, arm])) for name, arm in ordered)


def _by_parts(name: str) -> list[tuple[int, int, str]]:
    """Sorts numbers by size: ``exact/tokens/50`` before ``exact/tokens/100``."""
    parts = name.split("/")
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]
