"""The types that calls share."""

from __future__ import annotations

from typing import Annotated

import msgspec

from govraft.core.model.limits import NAME_CHARS

__all__ = ["CallId", "Name", "Seq", "TimeoutMs"]

CallId = Annotated[int, msgspec.Meta(ge=1, lt=1 << 53)]
Seq = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
Name = Annotated[str, msgspec.Meta(max_length=NAME_CHARS)]
TimeoutMs = Annotated[int, msgspec.Meta(ge=1, le=600_000)]
