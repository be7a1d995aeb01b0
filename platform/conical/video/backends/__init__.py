"""Decoders behind one interface, and the rules that say which may read which kind of file."""
