"""A node that breaks the rules when it is told to: `python lying_node.py LIE CONFIG`. All else is the stock daemon.

It behaves until a file named `lie` lies beside its configuration, and again once the file is gone.

=================  ==============================================================================================
lie                what it does
=================  ==============================================================================================
diverge:SECTION    its machine puts a record into SECTION when it applies a command with the reason `diverge`
lineage            its machine writes another entry's digest into its leaves; its state is that of all others
lag                it takes no more entries into its log, although it hears all else
unsigned           as leader, it asks without a signature
spoof              as leader, it makes certificates of its own ack alone, and forged ones of all others
impatient          as leader, it waits for no outstanding holder
equivocate         as voter, it signs a second root for each seq
mute               it acks nothing, certifies nothing, and signs no permit; in Raft it takes part
reckless           as leader, it orders whatever a client hands in, unexamined
=================  ==============================================================================================
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

import govraft.core.machine.machine as machine_module
from govraft import daemon
from govraft.adapters.engine.frames import AppendEntries, decode_frame
from govraft.core.codec.note import Checkpoint, cosigned_message
from govraft.core.convergence.cosigner import Answer, Cosigner
from govraft.core.convergence.messages import Ack, Kind, sign
from govraft.core.convergence.round import RoundLeader
from govraft.core.machine.attestation_view import ATTESTATION_PREFIX, Attestation
from govraft.core.machine.entry import encode_entry
from govraft.core.machine.records import ENTITY_PREFIX, Entity
from govraft.core.machine.state import Changes
from govraft.core.model.electorate import Member
from govraft.core.model.outcome import Rejected
from govraft.node.convergence import CONVERGENCE_CHANNEL
from govraft.node.core import RAFT_CHANNEL, NodeCore
from govraft.node.cosigning import PERMIT_CHANNEL
from govraft.node.effects import Effects

Told = Callable[[], bool]

GHOST = 'Agent::"ghost"'
OTHER_ROOT = bytes(31) + b"\x01"
NEVER_MADE = Attestation("0" * 64, GHOST, "urn:x", "operator-1", ("0" * 64,), "0" * 64, 1, 1, 2**50, 1)


def diverge(section: str, told: Told) -> None:
    honest = machine_module.handle

    def handle(state: Any, command: Any, context: Any) -> Changes | Rejected:
        result = honest(state, command, context)
        if told() and getattr(command, "reason", "") == "diverge" and isinstance(result, Changes):
            if section == "entities":
                result.put(section, ENTITY_PREFIX + GHOST, Entity(GHOST, {}, ()))
            elif section == "attestations":
                result.put(section, ATTESTATION_PREFIX + NEVER_MADE.digest, NEVER_MADE)
            else:
                result.put(section, "policy/00", "permit (principal, action, resource);")
        return result

    machine_module.handle = handle


def lineage(told: Told) -> None:
    honest = machine_module.entry_digest

    def entry_digest(data: bytes) -> bytes:
        return OTHER_ROOT if told() else honest(data)

    machine_module.entry_digest = entry_digest


def lag(told: Told) -> None:
    honest = NodeCore.on_frame

    def on_frame(self: NodeCore, peer: str, channel: int, payload: bytes) -> None:
        if told() and channel == RAFT_CHANNEL:
            message = decode_frame(payload)
            if isinstance(message, AppendEntries) and message.entries:
                return
        honest(self, peer, channel, payload)

    NodeCore.on_frame = on_frame  # type: ignore[method-assign]


def unsigned(told: Told) -> None:
    honest = RoundLeader.begin

    def begin(self: RoundLeader, **given: Any) -> Any:
        signed = honest(self, **given)
        return msgspec.structs.replace(signed, signature=bytes(64)) if told() else signed

    RoundLeader.begin = begin  # type: ignore[method-assign]


def spoof(told: Told) -> None:
    honest = RoundLeader.take

    def take(self: Any, signed: Any, ack: Ack, own: Member, now: Any) -> Any:
        if not told() or ack.node != self._node_id:
            return honest(self, signed, ack, own, now) if not told() else None
        opened = next(item for item in self._open.values() if item.content.round == ack.round)
        forged = {(own.id, own.public_key): (signed, ack)}
        for member in opened.electorates[-1].voters:
            if member.id != ack.node:
                other = msgspec.structs.replace(ack, node=member.id, nonce=bytes(16))
                author = sign(Kind.ACK, other.encode(), signer=member.id, cluster=self._cluster, signing=self._signing)
                forged[member.id, member.public_key] = (author, other)
        opened.acks = forged
        evidence = tuple(author for author, _ in forged.values())
        return self._complete(opened, evidence)

    RoundLeader.take = take  # type: ignore[method-assign]


def impatient(told: Told) -> None:
    honest = RoundLeader._evidence

    def evidence(self: Any, opened: Any, now: Any) -> Any:
        if not told():
            return honest(self, opened, now)
        acks = {node: signed for node, (signed, _) in sorted(opened.acks.items())}
        return tuple(acks.values()) if len(acks) >= opened.electorates[-1].quorum_count else None

    RoundLeader._evidence = evidence  # type: ignore[method-assign]


def equivocate(told: Told) -> None:
    honest = Cosigner.answer

    def answer(self: Any, *given: Any) -> Any:
        found = honest(self, *given)
        if not isinstance(found, Answer) or not told():
            return found
        ack = msgspec.structs.replace(Ack.decode(found.ack.body), root=OTHER_ROOT)
        body = Checkpoint(self._origin, ack.seq, OTHER_ROOT).encode()
        ack = msgspec.structs.replace(ack, cosignature=self._signing(cosigned_message(body, ack.time_s)))
        author = sign(Kind.ACK, ack.encode(), signer=self._node_id, cluster=self._cluster, signing=self._signing)
        return msgspec.structs.replace(found, ack=author)

    Cosigner.answer = answer  # type: ignore[method-assign]


def mute(told: Told) -> None:
    honest = NodeCore.take_effects

    def take_effects(self: NodeCore) -> Effects:
        effects = honest(self)
        if told():
            effects.sends = [
                send for send in effects.sends if send.channel not in (CONVERGENCE_CHANNEL, PERMIT_CHANNEL)
            ]
        return effects

    NodeCore.take_effects = take_effects  # type: ignore[method-assign]


def reckless(told: Told) -> None:
    honest = NodeCore.submit

    def submit(self: NodeCore, envelope: bytes, *, wait: str, timeout_ms: int, done: Any, at_least: int = 0) -> None:
        if not told():
            honest(self, envelope, wait=wait, timeout_ms=timeout_ms, done=done, at_least=at_least)
            return
        self.sequencer.propose(encode_entry(self._clock.wall(), envelope))
        done({"seq": 0, "outcome": "pending", "certified_seq": 0, "command_id": "reckless"})

    NodeCore.submit = submit  # type: ignore[method-assign]


LIES = {
    "lineage": lineage,
    "lag": lag,
    "unsigned": unsigned,
    "spoof": spoof,
    "impatient": impatient,
    "equivocate": equivocate,
    "mute": mute,
    "reckless": reckless,
}


def main() -> int:
    lie, config = sys.argv[1], Path(sys.argv[2])
    told = config.with_name("lie").exists
    name, _, section = lie.partition(":")
    if name == "diverge":
        diverge(section, told)
    else:
        LIES[name](told)
    return daemon.run(config)


if __name__ == "__main__":
    sys.exit(main())
