"""Checks of a dataset: leaks between splits, near-duplicates, captions, distributions."""
