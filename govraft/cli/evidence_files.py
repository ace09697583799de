"""Evidence that commands keep in files, and the question whose answer is signed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from govraft.cli.settings import Settings
from govraft.client.client import Client
from govraft.client.permits import SignedVerdict
from govraft.client.verdicts import Deny
from govraft.core.model.reasons import Reason
from govraft.errors import GovraftError, InputError

__all__ = ["ask_signed", "check_target_file", "keep_evidence"]


def check_target_file(path: Path) -> None:
    """Find a mistaken path before anything is asked, not after it. Raises `InputError`."""
    if not path.parent.is_dir():
        reason = f"`{path.parent}` is no directory"
    elif path.is_dir():
        reason = "it is a directory"
    elif not os.access(path if path.exists() else path.parent, os.W_OK):
        reason = "permission denied"
    else:
        return
    raise InputError(f"nothing can be kept in `{path}`: {reason}; nothing was asked", code="file_unwritable")


def keep_evidence(path: Path, data: bytes) -> None:
    """Write an evidence file.

    Raises:
        GovraftError: It cannot be written; what it says has happened all the same.
    """
    try:
        path.write_bytes(data + b"\n")
    except OSError as error:
        message = f"it is decided, but cannot be kept in `{path}`: {error.strerror}"
        raise GovraftError(message, code="file_unwritable", definite=False) from error


def ask_signed(
    settings: Settings, principal: str, action: str, resource: str, context: dict[str, Any], *, at_least: int
) -> SignedVerdict:
    """Ask for a verdict that is signed if it is a denial. The first target that answers decides."""
    answer = SignedVerdict(Deny(Reason.NODE_UNREACHABLE, "there is no node to ask"))
    for target in settings.targets():
        with Client(target.endpoint, timeout=settings.timeout_s) as client:
            answer = client.check_signed(principal, action, resource, context, at_least=at_least)
        if not isinstance(answer.verdict, Deny) or answer.verdict.reason is not Reason.NODE_UNREACHABLE:
            break
    return answer
