"""What must hold of permits, watched while they are signed, while they leave a node, and at the end of a run.

====================  =================================================================================================
`stale_permit`        a node signed, or let go, a permit on a state older than one that was effective
`permit_unproven`     a permit that left a node proves nothing to a stranger
`permit_used_twice`   two uses of one permit were applied
====================  =================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from govraft.core.codec.envelope import decode_envelope, pae
from govraft.core.convergence.messages import Sign
from govraft.core.evidence.permit import permit_statement, verify_permit
from govraft.core.evidence.permit_file import envelope_in, prove_permit
from govraft.core.evidence.statements import PERMIT_TYPE, PermitStatement
from govraft.core.lineage.leaf import Leaf
from govraft.core.machine.entry import decode_entry
from govraft.core.model.commands import PermitRedeem, command_name, decode_command
from govraft.errors import InputError, VerificationError
from govraft.node.authorization import Granted
from govraft.testing.simulation.workload_records import permit_of

if TYPE_CHECKING:
    from govraft.testing.simulation.host import Host
    from govraft.testing.simulation.world import World

__all__ = ["PermitWatcher"]

_SIGNED = pae(PERMIT_TYPE, b"")[:-2]
"""What the signed bytes of every permit begin with."""


class PermitWatcher:
    """Of one run.

    Args:
        find: Told of what is broken: rule, node, detail.

    Attributes:
        signed: How many signatures nodes gave.
        redeemed: How many uses were applied.
    """

    def __init__(self, world: World, find: Callable[[str, str, str], None]) -> None:
        self._world, self._find = world, find
        self.signed = self.redeemed = 0

    def watched(self, host: Host, sign: Sign) -> Sign:
        """The same way to sign, with somebody who looks at what is signed."""

        def signing(message: bytes) -> bytes:
            if message.startswith(_SIGNED):
                self._signing(host, PermitStatement.decode(message[len(_SIGNED) :].split(b" ", 1)[1]))
            return sign(message)

        return signing

    def _signing(self, host: Host, statement: PermitStatement) -> None:
        self.signed += 1
        self._must_be_fresh(host, statement, "signs")

    def leaves(self, host: Host, granted: Granted) -> None:
        """A permit leaves a node."""
        self._must_be_fresh(host, granted.statement, "lets go of")
        world = self._world
        genesis, chain = world.cast.genesis, world.watcher.chain
        try:
            if world.plan.configuration.real_keys:
                prove_permit(granted.file, genesis, at=granted.statement.issued)
            else:
                electorate = chain.in_force(granted.statement.seq)
                is_valid = world.cast.is_valid()
                verify_permit(envelope_in(granted.file), electorate, genesis.cluster_id, is_valid=is_valid)
        except VerificationError as error:
            self._find("permit_unproven", host.name, f"lets go of a permit that proves nothing: {error}")

    def _must_be_fresh(self, host: Host, statement: PermitStatement, does: str) -> None:
        newest = self._world.watcher.certified_seq
        if statement.seq < newest and self._world.plan.configuration.is_fresh_promised:
            self._find("stale_permit", host.name, f"{does} a permit on seq {statement.seq}; {newest} is effective")

    def end(self, host: Host) -> None:
        """Look at all uses in a node's lineage."""
        used: dict[str, int] = {}
        entries = {entry.index: entry.payload[1:] for entry in host.disk.journal}
        for stored in host.disk.leaves:
            leaf = Leaf.decode(stored.leaf)
            permit = _redeemed(entries.get(stored.index, b"")) if leaf.outcome == "applied" else ""
            if not permit:
                continue
            self.redeemed += 1
            if permit in used:
                self._find("permit_used_twice", host.name, f"a permit was used at seq {used[permit]} and at {leaf.seq}")
            used[permit] = leaf.seq


def _redeemed(entry: bytes) -> str:
    """Id of the permit that an entry uses up; empty for any other entry."""
    try:
        opened = decode_envelope(decode_entry(entry).envelope)
        name = command_name(opened.payload_type)
        command = None if name is None else decode_command(name, opened.payload)
        return permit_statement(permit_of(command)).permit if isinstance(command, PermitRedeem) else ""
    except (InputError, VerificationError):
        return ""
