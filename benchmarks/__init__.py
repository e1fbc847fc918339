"""Benchmarks, side by side with the tools that people use today; `python -m benchmarks --help`."""
