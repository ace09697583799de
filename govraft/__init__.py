"""govraft: may I execute? Allow only while a quorum has signed exactly the state this node holds."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from govraft.version import VERSION

if TYPE_CHECKING:
    from govraft.api.wire import Receipt
    from govraft.client.async_client import AsyncClient
    from govraft.client.client import Client
    from govraft.client.permits import Permit
    from govraft.client.verdicts import Allow, Deny, Verdict
    from govraft.core.model.reasons import Reason
    from govraft.core.model.request import Request
    from govraft.errors import Denied, GovraftError

__all__ = [
    "Allow",
    "AsyncClient",
    "Client",
    "Denied",
    "Deny",
    "GovraftError",
    "Permit",
    "Reason",
    "Receipt",
    "Request",
    "Verdict",
    "__version__",
]

__version__ = VERSION

# Imported when first used: whoever needs one module of govraft does not pay for the others.
_HOMES = {
    "Allow": "govraft.client.verdicts",
    "AsyncClient": "govraft.client.async_client",
    "Client": "govraft.client.client",
    "Denied": "govraft.errors",
    "Deny": "govraft.client.verdicts",
    "GovraftError": "govraft.errors",
    "Permit": "govraft.client.permits",
    "Reason": "govraft.core.model.reasons",
    "Receipt": "govraft.api.wire",
    "Request": "govraft.core.model.request",
    "Verdict": "govraft.client.verdicts",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module `govraft` has no attribute `{name}`")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
