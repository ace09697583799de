"""Parses and type-checks proposed policies in a process that may die.

The hazard scan bounds what is known to kill the native engine. What is not known yet kills a throw-away child here,
before the proposal is replicated, instead of every node after it. Whatever the child does other than answering
"accepted" in time (crash, hang, garbage, too much memory) refuses the proposal.

Run as `python -m govraft.adapters.cedar_parser`, this module is that child: one JSON document on stdin, one on stdout.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from govraft.core.model import limits
from govraft.core.policy import engine, hazards
from govraft.core.policy.compiled import CompiledPolicies
from govraft.errors import InputError

__all__ = ["PolicyRejectedError", "parse_isolated"]

_MEMORY_BYTES = 1024 * 1024 * 1024
_ANSWER_BYTES = 4096
_ENVIRONMENT_KEPT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH")
_ACCEPTED = b'{"accepted":true}'


class PolicyRejectedError(InputError):
    """Proposed policies or entities that must not be replicated."""

    default_code = "policy_invalid"


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
    """
    try:
        _scan(schema, policies, entities)
        question = msgspec.json.encode(
            _Proposal(schema, dict(policies), None if entities is None else list(map(dict, entities)))
        )
    except (InputError, TypeError, ValueError) as error:
        raise PolicyRejectedError(str(error), code=getattr(error, "code", None)) from error
    answer, exit_code = await _ask_child(question, timeout_s)
    # SAFETY: only this exact answer accepts; test_cedar_parser.py::test_anything_but_acceptance_rejects.
    if exit_code == 0 and answer == _ACCEPTED:
        return
    try:
        refusal = msgspec.json.decode(answer, type=_Refusal)
    except msgspec.DecodeError as error:
        message = f"the policy parser ended with status {exit_code} and no answer: simplify the proposal"
        raise PolicyRejectedError(message, code="policy_parser_failed") from error
    raise PolicyRejectedError(refusal.message, code=refusal.code)


def _scan(schema: str, policies: Mapping[str, str], entities: Sequence[Mapping[str, Any]] | None) -> None:
    hazards.scan_schema(schema)
    for text in policies.values():
        hazards.scan_policy(text)
    for entity in entities or ():
        hazards.scan_value(dict(entity), depth_max=limits.ENTITY_DEPTH + 1)


def _child_command() -> list[str]:
    return [sys.executable, "-P", "-m", "govraft.adapters.cedar_parser"]


async def _ask_child(question: bytes, timeout_s: float) -> tuple[bytes, int]:
    try:
        child = await asyncio.create_subprocess_exec(
            *_child_command(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={name: os.environ[name] for name in _ENVIRONMENT_KEPT if name in os.environ},
        )
    except OSError as error:
        message = f"the policy parser cannot start: {error.strerror}: free processes and memory, then retry"
        raise PolicyRejectedError(message, code="policy_parser_failed") from error
    try:
        answer, _ = await asyncio.wait_for(child.communicate(question), timeout_s)
    except TimeoutError as error:
        message = f"the policy parser did not answer within {timeout_s} s: simplify the proposal"
        raise PolicyRejectedError(message, code="policy_parser_failed") from error
    finally:
        if child.returncode is None:  # Timed out or cancelled.
            child.kill()
            await child.wait()
    return answer[:_ANSWER_BYTES], child.returncode if child.returncode is not None else -1


def _confine() -> None:
    """Bound what a runaway parse can take from the machine."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))


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
    try:
        engine.parse_entities(msgspec.json.encode(entities).decode(), schema)
    except engine.EngineError:
        # Name the one that does not fit; if each fits alone, it is how they stand to each other.
        for entity in entities:
            try:
                engine.parse_entities(msgspec.json.encode([entity]).decode(), schema)
            except engine.EngineError as error:
                uid = entity.get("uid", {})
                name = f'{uid.get("type")}::"{uid.get("id")}"' if isinstance(uid, dict) else str(uid)
                raise engine.EngineError(f"entity `{name[:200]}`: {error}") from error
        raise


def main() -> None:
    """Answer the one proposal on stdin."""
    _confine()
    sys.stdout.buffer.write(_answer(sys.stdin.buffer.read()))


if __name__ == "__main__":
    main()
