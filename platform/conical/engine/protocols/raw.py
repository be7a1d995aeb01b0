"""`raw`: the dataset's captions against frames, as the literature scores unless it says otherwise."""

from __future__ import annotations

from conical.engine.protocols.protocol import Protocol

RAW = Protocol(name="raw")
