"""Benchmarks, each a ratio to the peer in the same run: ``make bench``."""
