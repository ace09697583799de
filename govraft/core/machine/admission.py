"""Who may command: everything that is checked about an envelope before the command meets the state.

In this order, and the first failure is the answer:

     1  size, envelope JSON                  ENVELOPE_TOO_LARGE, ENVELOPE_MALFORMED, LIMIT_EXCEEDED
     2  payload type                         PAYLOAD_TYPE_UNKNOWN
     3  a signature at all                   ENVELOPE_UNSIGNED
     4  one signature a key                  KEY_DUPLICATE
     5  known keys' signatures verify        SIGNATURE_INVALID
     6  payload canonical and typed          PAYLOAD_NOT_CANONICAL, PAYLOAD_MALFORMED
     7  this cluster                         WRONG_CLUSTER
     8  not over, not too far ahead          EXPIRED, VALIDITY_TOO_LONG
     9  signatures of whom it takes          THRESHOLD_UNMET, DOMAIN_UNKNOWN, and what a family's own rule says
    10  not seen before                      DUPLICATE_COMMAND

From step 9 on the command is *authenticated*: only then may its id be remembered, or anybody could burn another's id.
Expiry comes before the duplicate check, so an id needs to be remembered only until its command is over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from govraft.core.codec.canonical import NOT_CANONICAL
from govraft.core.codec.envelope import Envelope, decode_envelope
from govraft.core.crypto.keys import verify
from govraft.core.crypto.threshold import KEY_DUPLICATE, verified_keys
from govraft.core.machine.dispatch import requirement
from govraft.core.machine.requirement import satisfy
from govraft.core.machine.state import State
from govraft.core.model import limits
from govraft.core.model.authority import Role
from govraft.core.model.commands import Command, command_name, decode_command, rules_needed
from govraft.core.model.outcome import Rejected, Rejection
from govraft.core.model.rules import RULES_WITH_LISTS
from govraft.core.model.units import time_text
from govraft.errors import DecodeError, InputError, LimitExceededError, SignatureError

__all__ = ["Admitted", "admit"]

IsValid = Callable[[bytes, bytes, bytes], bool]


class Admitted(NamedTuple):
    """An authenticated command.

    Attributes:
        command: Decoded.
        authors: Ids of the authorities whose signatures it took, sorted.
        signers: Ids of all active authorities that signed, sorted.
        node: Id of the member that signed, if exactly one did.
        payload_digest: `Envelope.payload_digest`.
        duplicate: The id is known already: the command must not work again.
        signed_bytes: What the signatures sign.
        foreign: Signatures by keys that are nobody's here, by key id; not verified.
        role: The role as whose holders the authors signed; None if it took one member or one authority.
    """

    command: Command
    authors: tuple[str, ...]
    signers: tuple[str, ...]
    node: str | None
    payload_digest: bytes
    duplicate: bool
    signed_bytes: bytes
    foreign: Mapping[str, bytes]
    role: Role | None


def admit(
    state: State, envelope: bytes, *, cluster_id: str, time: int, is_valid: IsValid = verify
) -> Admitted | Rejected:
    """Check an envelope at a time.

    Args:
        state: Gives authorities, thresholds and known commands.
        envelope: The exact bytes received.
        cluster_id: Of this cluster.
        time: WallMs of the machine at the entry.
        is_valid: Checks a signature.
    """
    opened = _open(envelope, state.rules)
    if isinstance(opened, Rejected):
        return opened
    signed = _verify(state, opened, is_valid)
    if isinstance(signed, Rejected):
        return signed
    command = _decode(opened, state.rules)
    if isinstance(command, Rejected):
        return command
    refused = _check_header(command, cluster_id, time)
    if refused is not None:
        return refused
    required = requirement(state, command)
    satisfied = required if isinstance(required, Rejected) else satisfy(state, required, signed)
    if isinstance(satisfied, Rejected):
        return satisfied
    holders = state.authorities.key_holders
    signers = sorted(holders[name].id for name in signed if name in holders and holders[name].is_active)
    return Admitted(
        command,
        satisfied.authors,
        tuple(signers),
        satisfied.node,
        opened.payload_digest,
        state.audit.known(command.command_id, time) is not None,
        opened.signed_bytes,
        {part.key_id: part.signature for part in opened.signatures if part.key_id not in state.keys},
        satisfied.role,
    )


def _open(data: bytes, rules: int) -> Envelope | Rejected:
    most = limits.ENVELOPE_BYTES_RULES_1 if rules < RULES_WITH_LISTS else limits.ENVELOPE_BYTES
    if len(data) > most:
        return Rejected(Rejection.ENVELOPE_TOO_LARGE, f"the limit is {most} bytes, split the command")
    try:
        envelope = decode_envelope(data)
    except LimitExceededError as error:
        return Rejected(Rejection.LIMIT_EXCEEDED, str(error))
    except DecodeError as error:
        return Rejected(Rejection.ENVELOPE_MALFORMED, str(error))
    if command_name(envelope.payload_type) is None:
        return Rejected(Rejection.PAYLOAD_TYPE_UNKNOWN, f"`{envelope.payload_type[:100]}` is no command here")
    if not envelope.signatures:
        return Rejected(Rejection.ENVELOPE_UNSIGNED, "sign the envelope")
    return envelope


def _verify(state: State, envelope: Envelope, is_valid: IsValid) -> list[str] | Rejected:
    signatures = [(part.key_id, part.signature) for part in envelope.signatures]
    try:
        return verified_keys(envelope.signed_bytes, signatures, state.keys, is_valid)
    except SignatureError as error:
        duplicate = error.code == KEY_DUPLICATE
        return Rejected(Rejection.KEY_DUPLICATE if duplicate else Rejection.SIGNATURE_INVALID, str(error))


def _decode(envelope: Envelope, rules: int) -> Command | Rejected:
    name = command_name(envelope.payload_type)
    if name is None:
        return Rejected(Rejection.PAYLOAD_TYPE_UNKNOWN)
    try:
        command = decode_command(name, envelope.payload)
    except InputError as error:
        not_canonical = error.code == NOT_CANONICAL
        return Rejected(Rejection.PAYLOAD_NOT_CANONICAL if not_canonical else Rejection.PAYLOAD_MALFORMED, str(error))
    # SAFETY: what a number of the rules does not know stays what it was under it, on every node and in every replay
    # (test_numbered_rules.py::test_a_list_of_targets_needs_rules_2).
    if rules_needed(command) > rules:
        message = f"{name}: such a payload needs rules {rules_needed(command)}, the cluster goes by {rules}"
        return Rejected(Rejection.PAYLOAD_MALFORMED, f"{message}; see `govraft rules --help`")
    return command


def _check_header(command: Command, cluster_id: str, time: int) -> Rejected | None:
    # SAFETY: a command for one cluster works on no other. test_admission.test_table
    if command.cluster != cluster_id:
        return Rejected(Rejection.WRONG_CLUSTER, f"the command is for cluster `{command.cluster[:64]}`")
    if command.not_after <= time:
        times = f"the command's `not_after` is {time_text(command.not_after)}, and it is {time_text(time)}"
        return Rejected(Rejection.EXPIRED, f"{times}: sign it again")
    if command.not_after > time + limits.COMMAND_VALIDITY_MS:
        return Rejected(
            Rejection.VALIDITY_TOO_LONG, f"`not_after` is over {limits.COMMAND_VALIDITY_MS} ms ahead, bring it nearer"
        )
    return None
