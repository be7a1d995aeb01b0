"""One experiment as one value: its settings, their defaults, the files and command lines that change them."""

from conical.config.experiment import LOSS_TITLES, Experiment, parse_experiment
from conical.config.load import load_experiment

__all__ = ["LOSS_TITLES", "Experiment", "load_experiment", "parse_experiment"]
