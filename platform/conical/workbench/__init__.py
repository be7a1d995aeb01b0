"""What makes this repository's own assets and pages; only jobs and the command line import it."""
