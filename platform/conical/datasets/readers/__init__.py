"""Readers: what the annotation files of a dataset say, one file per dataset."""
