"""Figures as people read them."""

from training.evaluation.measures import OF_PROMPT, Evaluation


def shown(value: float) -> str:
    """Three significant digits or three decimals: ``0.981``, ``12.4``, ``1,310``, ``1.3e-05``."""
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.1e}" if 0 < size < 0.0005 else f"{value:.3f}"


def of_prompt(result: Evaluation, name: str) -> str:
    """The arm ``adapter`` as a share of the arm ``prompt``; empty for what has no such share."""
    ratio = result.measure(f"{OF_PROMPT}/{name}", "adapter")
    return "" if ratio is None else f"{ratio.value:.3f}"


def is_share(name: str) -> bool:
    """Whether the measure is a share of right answers, between 0 and 1."""
    return name.split("/")[0] in ("exact", "manner", "accuracy", "identical", "floor") or name.startswith("rank-1-of-")
