"""The stages on Ray: the only layer that imports it."""
