"""One experiment as one value: its settings, their defaults, the files and command lines that change them."""

from conical.config.experiment import Experiment, parse_experiment
from conical.config.load import load_experiment

__all__ = ["Experiment", "load_experiment", "parse_experiment"]
