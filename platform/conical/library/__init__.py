"""Datasets as a workspace holds them: import, open, audit, count, look. No Ray."""
