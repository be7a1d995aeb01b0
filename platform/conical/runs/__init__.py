"""Runs: what a run is, what it depends on, and what may be said of it. No Ray."""
