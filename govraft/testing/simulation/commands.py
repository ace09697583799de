"""What clients hand in: signed commands, each the same bytes whenever it is asked for again."""

from __future__ import annotations

import random
from typing import Any

from govraft.core.codec.envelope import decode_envelope
from govraft.core.machine.entry import decode_entry
from govraft.core.machine.machine import Machine
from govraft.core.model.commands import (
    Command,
    EntityFields,
    EntityPut,
    PolicyActivate,
    PolicyPublish,
    Quarantine,
    Release,
    Revoke,
    TargetKind,
    command_name,
    decode_command,
)
from govraft.errors import InputError
from govraft.testing.sample import CREATED, SampleCluster
from govraft.testing.simulation.families import FAMILIES
from govraft.testing.simulation.workload import Draw, Stage

__all__ = ["REQUEST_ACTION", "REQUEST_RESOURCE", "SCHEMA", "CommandBook", "command_id_of"]

SCHEMA = """
entity Group in [Group];
entity Agent in [Group];
entity Tool in [Group];
action "run", "stop" appliesTo { principal: [Agent], resource: [Tool] };
"""
PERMIT = 'permit(principal, action == Action::"run", resource);'
REQUEST_ACTION = 'Action::"run"'
REQUEST_RESOURCE = 'Tool::"t"'
NOT_AFTER = CREATED + 6 * 3_600_000


class CommandBook:
    """The envelopes of one run, by command id."""

    def __init__(self, sample: SampleCluster) -> None:
        self._sample = sample
        self._envelopes: dict[str, bytes] = {}

    def envelope(self, command_id: str, kind: str, target: str) -> bytes:
        """The envelope of an operator's command; the same bytes for the same id."""
        found = self._envelopes.get(command_id)
        if found is None:
            found = self._envelopes[command_id] = self._sample.sign(self._command(command_id, kind, target), "olga")
        return found

    def drawn(self, command_id: str, family: str, machine: Machine, rng: random.Random) -> bytes | None:
        """A command of a family that fits, or does not fit, the state as one node sees it; None if nobody can sign."""
        return self.by(command_id, FAMILIES[family], machine, rng)

    def by(self, command_id: str, draw: Draw, machine: Machine, rng: random.Random) -> bytes | None:
        """The envelope of whatever that draws; the same bytes for the same id."""
        if command_id not in self._envelopes:
            drawn = draw(rng, Stage(self._sample, machine, command_id, NOT_AFTER))
            if drawn is None:
                return None
            self._envelopes[command_id] = drawn.envelope()
        return self._envelopes[command_id]

    def publish(self, command_id: str, version: int, expected: str) -> bytes:
        """A policy version: the first permits `run`, each further one adds a permit that changes nothing asked."""
        text = (
            PERMIT if version == 1 else f'permit(principal, action == Action::"stop", resource == Tool::"v{version}");'
        )
        schema = SCHEMA if version == 1 else None
        command = PolicyPublish(
            **self._header(command_id), version=version, expected=expected, schema=schema, policies=(text,), removed=()
        )
        return self._sign_policy(command)

    def activate(self, command_id: str, version: int, digest: str) -> bytes:
        """Put a published version to use."""
        return self._sign_policy(PolicyActivate(**self._header(command_id), version=version, digest=digest))

    def _sign_policy(self, command: Command) -> bytes:
        return self._envelopes.setdefault(command.command_id, self._sample.sign(command, "pat"))

    def _header(self, command_id: str) -> dict[str, Any]:
        return self._sample.header(command_id, NOT_AFTER)

    def _command(self, command_id: str, kind: str, target: str) -> Command:
        header = self._header(command_id)
        if kind == "put":
            return EntityPut(**header, entities=(EntityFields(uid=target, attrs={}, parents=()),))
        kinds: dict[str, type[Quarantine | Release | Revoke]] = {
            "quarantine": Quarantine,
            "release": Release,
            "revoke": Revoke,
        }
        return kinds[kind](**header, kind=TargetKind.SUBJECT, id=target, reason="simulated")


def command_id_of(entry: bytes) -> str:
    """The command id inside an entry, empty where it holds no readable command."""
    try:
        opened = decode_envelope(decode_entry(entry).envelope)
        name = command_name(opened.payload_type)
        return "" if name is None else decode_command(name, opened.payload).command_id
    except InputError:
        return ""
