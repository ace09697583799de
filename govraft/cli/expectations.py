"""Files of requests with the verdicts that are expected of them, for `check --batch` and `policy test`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from govraft.cli.input_files import read_json_objects
from govraft.core.model.reasons import Reason
from govraft.core.model.request import Request
from govraft.errors import InputError

__all__ = ["Expectation", "read_expectations"]

_FIELDS = frozenset({"principal", "action", "resource", "context", "expect", "reason", "rule", "comment"})


@dataclass(frozen=True, slots=True)
class Expectation:
    """A request, and what it should come to.

    Attributes:
        number: Of its line, or its place in the array, from 1.
        expect: `allow`, `deny` or None for either.
        reason: Code with which it should be denied, None for any.
    """

    number: int
    request: Request
    expect: str | None
    reason: str | None

    def is_met_by(self, reason: Reason | None) -> bool:
        """Does an answer from a state meet what is expected? `reason` is None for an allow.

        An error of a policy is a deny like any other here: it is what a program is told. Who means a rule names its
        reason.
        """
        if self.reason is not None:
            return reason is not None and reason.value == self.reason
        return (reason is None) == (self.expect == "allow")


def read_expectations(path: Path) -> list[Expectation]:
    """The requests of a JSON array or of JSON Lines.

    Raises:
        InputError: It holds none, or anything else.
    """
    lines = [_line(number, fields, path) for number, fields in read_json_objects(path)]
    if not lines:
        raise InputError(f"`{path}` holds no requests")
    return lines


def _line(number: int, fields: dict[str, Any], path: Path) -> Expectation:
    where = f"`{path}`, line {number}"
    # A misspelt `expect` must not drop an expectation unnoticed.
    strange = sorted(fields.keys() - _FIELDS)
    if strange:
        raise InputError(f"{where}: `{strange[0]}` is not known; use {', '.join(sorted(_FIELDS))}")
    known = {name: fields.get(name) for name in ("principal", "action", "resource")}
    context, expect, reason = fields.get("context", {}), fields.get("expect"), fields.get("reason")
    if not all(isinstance(value, str) for value in known.values()) or not isinstance(context, dict):
        raise InputError(f"{where}: needs `principal`, `action` and `resource` as text, `context` as an object")
    if expect not in (None, "allow", "deny") or not isinstance(reason, str | None):
        raise InputError(f"{where}: `expect` is allow or deny, `reason` a reason code")
    if reason is not None and reason not in Reason.__members__.values():
        raise InputError(f"{where}: `{reason}` is no reason code")
    return Expectation(number, Request(**known, context=context), expect or ("deny" if reason else None), reason)  # type: ignore[arg-type]
