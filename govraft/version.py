"""The version of this program, in a module that imports nothing."""

from __future__ import annotations

__all__ = ["VERSION"]

VERSION = "0.1.0"
