"""Training of the two tiny models in `assets/`."""
