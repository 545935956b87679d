"""What watches a training run: progress, collapse, and where a checkpoint comes from."""

from training.callbacks.collapse_guard import CollapseGuard, HypernetworkCollapsed
from training.callbacks.progress import Progress

__all__ = ["CollapseGuard", "HypernetworkCollapsed", "Progress"]
