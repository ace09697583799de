"""The library that applications import. It asks; it carries no code that decides."""

from __future__ import annotations

from govraft.client.async_client import AsyncClient
from govraft.client.client import Client
from govraft.client.permits import Permit
from govraft.client.verdicts import Allow, Deny, Verdict

__all__ = ["Allow", "AsyncClient", "Client", "Deny", "Permit", "Verdict"]
