"""Measurements of what users wait for; `python -m benchmarks` runs them all."""
