"""Benchmarks: ratios within one run, against the plain alternative and the limit."""
