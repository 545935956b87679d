"""Measuring generators: suites of held-out documents, controls beside every figure, intervals on every number."""
