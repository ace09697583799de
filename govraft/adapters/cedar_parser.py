"""Parses and type-checks proposed policies in a process that may die.

The hazard scan bounds what is known to kill the native engine. What is not known yet kills a throw-away child here,
before the proposal is replicated, instead of every node after it. Whatever the child does other than answering
"accepted" in time (crash, hang, garbage, too much memory) refuses the proposal.

The child says "ready" once it has parsed a policy that is known to be good; only then is it given the proposal. A child
that does not get so far, or that somebody else ended, says nothing about the proposal: that is an
`AvailabilityError`, never a refusal of content.

`main` is that child: one JSON document on stdin, "ready" and one document on stdout. It looks for modules exactly where
its parent does.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import resource
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from govraft.core.model import limits
from govraft.core.policy import engine, hazards
from govraft.core.policy.compiled import CompiledPolicies
from govraft.errors import AvailabilityError, InputError

__all__ = ["ParserUnavailableError", "PolicyParser", "PolicyRejectedError", "parse_isolated"]

_MEMORY_BYTES = 1024 * 1024 * 1024
_ANSWER_BYTES = 4096
_ENVIRONMENT_KEPT = ("PATH", "HOME", "PYTHONHOME", "PYTHONPATH", "PYTHONUSERBASE", "LD_LIBRARY_PATH")
_READY = b"ready\n"
_ACCEPTED = b'{"accepted":true}'
_STDERR_CHARS = 200

_CHILD = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop()); from govraft.adapters.cedar_parser import main; main()"
)
_KNOWN_SCHEMA = "entity U = {n: Long}; action a appliesTo {principal: [U], resource: [U], context: {}};"
_KNOWN_POLICY = "permit (principal, action, resource) when { principal.n == 1 };"


class PolicyRejectedError(InputError):
    """Proposed policies or entities that must not be replicated."""

    default_code = "policy_invalid"


class ParserUnavailableError(AvailabilityError):
    """The parser did not start, or was ended by somebody else: nothing is known about what it was to parse."""

    default_code = "policy_parser_unavailable"


class _Proposal(msgspec.Struct, forbid_unknown_fields=True):
    schema: str
    policies: dict[str, str]
    entities: list[dict[str, Any]] | None


class _Refusal(msgspec.Struct, forbid_unknown_fields=True):
    code: str
    message: str


async def parse_isolated(
    schema: str,
    policies: Mapping[str, str],
    entities: Sequence[Mapping[str, Any]] | None,
    *,
    timeout_s: float,
) -> None:
    """Return if a schema, policies and entities can be put to use together.

    Args:
        schema: In Cedar syntax.
        policies: Text of each policy by its id; each is type-checked against the schema in strict mode.
        entities: In Cedar's JSON format, to be checked against the schema; None to check none.
        timeout_s: Seconds from start to answer, after which the child is killed.

    Raises:
        PolicyRejectedError: They cannot, or the child did not say so in time.
        ParserUnavailableError: The child could not be asked.
    """
    try:
        _scan(schema, policies, entities)
        question = msgspec.json.encode(
            _Proposal(schema, dict(policies), None if entities is None else list(map(dict, entities)))
        )
    except (InputError, TypeError, ValueError) as error:
        raise PolicyRejectedError(str(error), code=getattr(error, "code", None)) from error
    answer, exit_code, complaint = await _ask_child(question, timeout_s)
    # SAFETY: only this exact answer accepts; test_cedar_parser.py::test_anything_but_acceptance_rejects.
    if exit_code == 0 and answer == _ACCEPTED:
        return
    try:
        refusal = msgspec.json.decode(answer, type=_Refusal)
    except msgspec.DecodeError as error:
        ended = f"the policy parser ended with status {exit_code} and no answer{complaint}"
        # SAFETY: what an honest proposal meets on a poor host must not be held against it
        # (test_cedar_parser.py::test_a_child_that_somebody_else_ends_says_nothing_about_the_proposal).
        if exit_code == -signal.SIGKILL:
            raise ParserUnavailableError(f"{ended}: somebody killed it; free memory, then retry") from error
        if _memory_bytes() < _MEMORY_BYTES:
            message = f"{ended}: it may use {_memory_bytes() >> 20} MiB of address space only; raise LimitAS to 1 GiB"
            raise ParserUnavailableError(message) from error
        raise PolicyRejectedError(f"{ended}: simplify the proposal", code="policy_parser_failed") from error
    raise PolicyRejectedError(refusal.message, code=refusal.code)


def _scan(schema: str, policies: Mapping[str, str], entities: Sequence[Mapping[str, Any]] | None) -> None:
    hazards.scan_schema(schema)
    for text in policies.values():
        hazards.scan_policy(text)
    for entity in entities or ():
        hazards.scan_value(dict(entity), depth_max=limits.ENTITY_DEPTH + 1)


def _child_command() -> list[str]:
    # Of a launcher's making, of a user's own directory: only this process knows where govraft was found.
    home = str(Path(__file__).resolve().parents[2])
    places = [str(Path(place).absolute()) for place in (*sys.path, home)]
    return [sys.executable, "-P", "-c", _CHILD, json.dumps(places)]


async def _ask_child(question: bytes, timeout_s: float) -> tuple[bytes, int, str]:
    """What the child answers, its exit code, and what it complained of last."""
    try:
        child = await asyncio.create_subprocess_exec(
            *_child_command(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={name: os.environ[name] for name in _ENVIRONMENT_KEPT if name in os.environ},
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        message = f"the policy parser cannot start: {reason}: free processes and memory, then retry"
        raise ParserUnavailableError(message) from error
    is_ready = False
    try:
        async with asyncio.timeout(timeout_s):
            is_ready = await _is_ready(child)
            answer, errors = await child.communicate(question if is_ready else b"")
    except TimeoutError as error:
        if not is_ready:
            message = f"the policy parser did not start within {timeout_s} s: the host is too busy; retry"
            raise ParserUnavailableError(message) from error
        message = f"the policy parser did not answer within {timeout_s} s: simplify the proposal"
        raise PolicyRejectedError(message, code="policy_parser_failed") from error
    finally:
        if child.returncode is None:  # Timed out or cancelled.
            child.kill()
            await child.wait()
    exit_code = child.returncode if child.returncode is not None else -1
    complaint = _last_line(errors)
    # SAFETY: a proposal that was never parsed is not refused for its content
    # (test_cedar_parser.py::test_a_child_that_does_not_get_ready_says_nothing_about_the_proposal).
    if not is_ready:
        message = f"the policy parser cannot start: it ended with status {exit_code}{complaint}"
        raise ParserUnavailableError(f"{message}; see that this node may use 1 GiB of address space (LimitAS)")
    return answer[:_ANSWER_BYTES], exit_code, complaint


async def _is_ready(child: asyncio.subprocess.Process) -> bool:
    if child.stdout is None:
        return False
    try:
        return await child.stdout.readexactly(len(_READY)) == _READY
    except asyncio.IncompleteReadError:
        return False


def _last_line(errors: bytes) -> str:
    lines = errors.decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f" ({last[:_STDERR_CHARS]})" if last else ""


class PolicyParser:
    """The isolated parser of one node, and whether it works.

    Attributes:
        condition: `untested`, `ok`, or why it could not be asked the last time.
    """

    def __init__(self, timeout_s: float) -> None:
        """Use children that may take `timeout_s` each."""
        self.condition = "untested"
        self._timeout_s = timeout_s

    async def examine(
        self, schema: str, policies: Mapping[str, str], entities: Sequence[Mapping[str, Any]] | None
    ) -> None:
        """As `parse_isolated`."""
        try:
            await parse_isolated(schema, policies, entities, timeout_s=self._timeout_s)
        except ParserUnavailableError as error:
            self.condition = str(error)
            raise
        except PolicyRejectedError:
            self.condition = "ok"
            raise
        self.condition = "ok"

    async def test(self) -> None:
        """Let a child parse what is known to be good.

        Raises:
            ParserUnavailableError: It cannot.
        """
        await self.examine(_KNOWN_SCHEMA, {}, None)


def _memory_bytes() -> int:
    """What the child may use: no more than this process could give it."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    return _MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(_MEMORY_BYTES, hard)


def _confine() -> None:
    """Bound what a runaway parse can take from the machine."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_memory_bytes(), _memory_bytes()))


def _answer(document: bytes) -> bytes:
    try:
        proposal = msgspec.json.decode(document, type=_Proposal)
        CompiledPolicies.compile(proposal.schema, proposal.policies)
        if proposal.entities is not None:
            _parse_entities(proposal.entities, engine.parse_schema(proposal.schema))
    except InputError as error:
        return msgspec.json.encode(_Refusal(error.code, str(error)[: _ANSWER_BYTES // 4]))
    return _ACCEPTED


def _parse_entities(entities: list[dict[str, Any]], schema: engine.Schema) -> None:
    document = msgspec.json.encode(entities).decode()
    try:
        engine.parse_entities(document, schema)
    except engine.EngineError as error:
        raise engine.EngineError(engine.explain_entities(document, schema) or str(error)) from error


def main() -> None:
    """Answer the one proposal on stdin."""
    _confine()
    policy_id = hashlib.sha256(_KNOWN_POLICY.encode()).hexdigest()
    CompiledPolicies.compile(_KNOWN_SCHEMA, {policy_id: _KNOWN_POLICY})
    sys.stdout.buffer.write(_READY)
    sys.stdout.buffer.flush()
    sys.stdout.buffer.write(_answer(sys.stdin.buffer.read()))
