"""What query and gallery are made of, one file per protocol. Nothing here loads torch before something is scored."""

from conical.engine.protocols.protocol import Protocol
from conical.engine.protocols.table import PROTOCOLS, find_protocol

__all__ = ["PROTOCOLS", "Protocol", "find_protocol"]
