"""Pictures and tables of a dataset: contact sheet, distributions, audit."""
