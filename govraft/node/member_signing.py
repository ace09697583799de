"""What a node signs in its own name: shares of permits, denials, and commands of members."""

from __future__ import annotations

from govraft.core.codec.envelope import pae, seal
from govraft.core.convergence.messages import Sign
from govraft.core.evidence.sealed import seal_statement
from govraft.core.evidence.statements import (
    DENIAL_TYPE,
    PERMIT_TYPE,
    DenialStatement,
    PermitStatement,
    request_digest,
)
from govraft.core.machine.machine import Machine
from govraft.core.model.commands import Command, encode_command, payload_type
from govraft.core.model.electorate import Member
from govraft.core.model.ids import canonical_uid
from govraft.core.model.request import Request
from govraft.core.model.verdict import Deny
from govraft.errors import InputError
from govraft.ports.clock import Clock

__all__ = ["Signer"]

_TEXT_CHARS = 512


class Signer:
    """Signs with the node's key, as the member that the node is now."""

    def __init__(self, *, node_id: str, public_key: bytes, machine: Machine, clock: Clock, signing: Sign) -> None:
        self._node_id = node_id
        self._public_key = public_key
        self._machine = machine
        self._clock = clock
        self._signing = signing

    @property
    def member(self) -> Member | None:
        """What this node is in the current electorate; None once it, or its key, is removed."""
        own = self._machine.electorate.find(self._node_id)
        return own if own is not None and own.public_key == self._public_key else None

    def sign_permit(self, statement: PermitStatement) -> bytes:
        """This node's signature of a permit: 64 bytes. Only for a statement that this node allows itself."""
        return self._signing(pae(PERMIT_TYPE, statement.encode()))

    def sign_command(self, command: Command) -> bytes:
        """The envelope of a command that this node gives as a member.

        Raises:
            InputError: It is none.
        """
        member = self.member
        if member is None:
            raise InputError("this node is no member and can sign no command", code="member_unknown")
        kind, payload = payload_type(command), encode_command(command)
        return seal(kind, payload, [(member.public_key, self._signing(pae(kind, payload)))])

    def sign_denial(self, request: Request, deny: Deny, *, permit: str | None = None) -> bytes | None:
        """The envelope of a denial; None from a node that is no member: nobody could tell whose word it is.

        Args:
            request: As it was asked.
            deny: What this node answers.
            permit: Id of the permit that it will not sign.
        """
        member = self.member
        if member is None:
            return None
        try:
            uids = [canonical_uid(uid) for uid in (request.principal, request.action, request.resource)]
            asked = request_digest(request)
        except InputError:
            uids, asked = [_printable(text) for text in (request.principal, request.action, request.resource)], ""
        statement = DenialStatement(
            cluster=self._machine.cluster_id,
            epoch=self._machine.epoch,
            seq=deny.seq,
            state_root=deny.state_root,
            node=self._node_id,
            permit=permit,
            request_digest=asked,
            principal=uids[0],
            action=uids[1],
            resource=uids[2],
            reason=deny.reason,
            message=_printable(deny.message),
            time=self._clock.wall(),
            decision=deny.decision,
        )
        signature = self._signing(pae(DENIAL_TYPE, statement.encode()))
        return seal_statement(DENIAL_TYPE, statement, {member.public_key: signature})


def _printable(text: str) -> str:
    """Text that fits into a statement, whatever it was."""
    return text[:_TEXT_CHARS].encode("utf-8", "replace").decode()
