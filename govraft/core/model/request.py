"""What is asked: may PRINCIPAL do ACTION on RESOURCE in CONTEXT?"""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["Request"]


class Request(msgspec.Struct, frozen=True):
    """One question.

    Attributes:
        principal, action, resource: Cedar entity uids as text, for example `Agent::"ci-bot"`.
        context: JSON object in Cedar's JSON value format.
    """

    principal: str
    action: str
    resource: str
    context: dict[str, Any] = {}
