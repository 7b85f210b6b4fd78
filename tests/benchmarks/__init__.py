"""Measurements against other tools and against stated bars: `python -m tests.benchmarks`."""
