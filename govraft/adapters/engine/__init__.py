"""pysyncobj, contained: the only package that knows it (docs/adr; hazards H1 to H28)."""

from __future__ import annotations

from govraft.adapters.engine.sequencer import PysyncobjSequencer
from govraft.adapters.engine.timing import EngineTiming

__all__ = ["EngineTiming", "PysyncobjSequencer"]
