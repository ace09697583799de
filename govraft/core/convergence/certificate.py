"""Does this note, or this lease, prove what it claims? All trust rules of convergence in one module, without I/O.

A quorum certificate proves that a quorum of the electorate cosigned one checkpoint. A lease proves more: that
the quorum acked *this* probe, grants included, and that every holder which any of them still counts as
`outstanding` at a lower seq has itself moved on. Whoever receives either checks all of it; nothing is taken
over from the leader that sent it.

Source: protocol, "Signed objects" and "The round", steps 4 and 5; C2SP signed-note, "Signatures".
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from govraft.core.codec.note import Checkpoint, Note, cosignature_key_id, cosigned_message, parse_note
from govraft.core.convergence.messages import Ack, Lease, Probe, Signed, probe_digest
from govraft.core.model.electorate import Electorate, Member
from govraft.errors import CertificateError, DecodeError, SignatureError

__all__ = [
    "WRONG_EPOCH",
    "IsValid",
    "VerifiedLease",
    "key_name",
    "open_ack",
    "open_signed",
    "verify_certificate",
    "verify_cosignature",
    "verify_lease",
]

WRONG_EPOCH = "wrong_epoch"
"""Code of the error for a lease of another epoch: it may be true, only not to be judged by this electorate."""

IsValid = Callable[[bytes, bytes, bytes], bool]
"""`(public_key, signature, message) -> bool`. Must not raise."""


class VerifiedLease(msgspec.Struct, frozen=True):
    """A lease that held in every respect.

    Attributes:
        probe: What the quorum acked.
        voters: Ids of the voters whose acks carry it.
        note: The quorum certificate's text.
    """

    probe: Probe
    voters: frozenset[str]
    note: bytes


def key_name(origin: str, node_id: str) -> str:
    """The C2SP key name of a node."""
    return f"{origin}/{node_id}"


def open_signed(signed: Signed, electorate: Electorate, cluster: bytes, is_valid: IsValid) -> Member:
    """Verify who said it, before anything of it is parsed.

    Returns:
        The member that signed.

    Raises:
        CertificateError: The signer is no member, or the signature is not its own.
    """
    member = electorate.find(signed.signer)
    if member is None:
        raise CertificateError(f"{signed.kind.value} is signed by `{signed.signer[:64]}`, who is no member")
    if not is_valid(member.public_key, signed.signature, signed.message(cluster)):
        message = f"{signed.kind.value} has an invalid signature of `{member.id}`"
        raise CertificateError(message, code=SignatureError.default_code)
    return member


def verify_certificate(text: bytes, electorate: Electorate, origin: str, *, is_valid: IsValid) -> Checkpoint:
    """Verify that a quorum of `electorate` cosigned the note's checkpoint.

    Unknown keys are ignored, so that a cosigner can join before every verifier knows it. A known key with a bad
    signature rejects the whole note: counting around it would hide corruption or forgery. Distinct public keys
    of voters are counted, never key ids and never lines.

    Args:
        text: The signed note as received.
        electorate: The trusted members of the checkpoint's epoch.
        origin: `govraft.dev/<cluster id>`, from the trusted genesis.
        is_valid: `(public_key, signature, message) -> bool`; must not raise.

    Returns:
        The checkpoint that is proven.

    Raises:
        CertificateError: Malformed, of another cluster, a bad signature of a known key, or too few of them.
    """
    try:
        note = parse_note(text)
        checkpoint = Checkpoint.decode(note.body)
    except DecodeError as error:
        raise CertificateError(f"certificate cannot be read: {error}") from error
    if checkpoint.origin != origin:
        raise CertificateError(f"certificate is of `{checkpoint.origin[:128]}`, not of `{origin}`")
    count = len(_cosigners(note, electorate, origin, is_valid))
    if count < electorate.quorum_count:
        raise CertificateError(f"certificate has {count} of {electorate.quorum_count} cosignatures")
    return checkpoint


def _cosigners(note: Note, electorate: Electorate, origin: str, is_valid: IsValid) -> set[bytes]:
    known: dict[tuple[str, bytes], Member] = {}
    for member in electorate.members:
        name = key_name(origin, member.id)
        known[name, cosignature_key_id(name, member.public_key)] = member
    for other in note.others:
        if other in known:
            raise CertificateError(f"certificate has a malformed cosignature of `{known[other].id}`")
    keys: set[bytes] = set()
    for item in note.signatures:
        signer = known.get((item.name, item.key_id))
        if signer is None:
            continue
        if not is_valid(signer.public_key, item.signature, cosigned_message(note.body, item.time_s)):
            raise CertificateError(f"certificate has an invalid cosignature of `{signer.id}`")
        if signer.voter:
            # SAFETY: a set of public keys: one voter signing twice is one voter
            # (test_certificate.py::test_one_voter_signing_twice_is_one_voter).
            keys.add(signer.public_key)
    return keys


def verify_lease(
    signed: Signed, electorate: Electorate, origin: str, cluster: bytes, *, is_valid: IsValid
) -> VerifiedLease:
    """Verify a whole lease message.

    Raises:
        CertificateError: Any part of it does not hold.
    """
    sender = open_signed(signed, electorate, cluster, is_valid)
    try:
        lease = Lease.decode(signed.body)
        probe_author = open_signed(lease.probe, electorate, cluster, is_valid)
        probe = Probe.decode(lease.probe.body)
        acks = [open_ack(item, electorate, cluster, is_valid) for item in lease.acks]
    except DecodeError as error:
        raise CertificateError(f"lease cannot be read: {error}") from error
    if not sender.id == probe_author.id == probe.leader:
        raise CertificateError("lease, probe and leader are not of one node")
    if probe.epoch != electorate.epoch:
        message = f"lease is of epoch {probe.epoch}, not of {electorate.epoch}"
        raise CertificateError(message, code=WRONG_EPOCH)
    voters = _granting_voters(lease, probe, acks, electorate)
    checkpoint = verify_certificate(lease.note, electorate, origin, is_valid=is_valid)
    if checkpoint != probe.checkpoint:
        raise CertificateError("certificate and probe are of different checkpoints")
    return VerifiedLease(probe, voters, lease.note)


def open_ack(signed: Signed, electorate: Electorate, cluster: bytes, is_valid: IsValid) -> Ack:
    """Verify an ack's author, then parse it.

    Raises:
        CertificateError: The author is no member, the signature is not its own, or it speaks for another node.
        DecodeError: It is malformed.
    """
    member = open_signed(signed, electorate, cluster, is_valid)
    ack = Ack.decode(signed.body)
    if ack.node != member.id:
        raise CertificateError(f"ack of `{ack.node[:64]}` is signed by `{member.id}`")
    return ack


def verify_cosignature(ack: Ack, electorate: Electorate, origin: str, *, is_valid: IsValid) -> None:
    """Verify the cosignature inside an ack, so that one bad voter cannot spoil a whole certificate.

    Raises:
        CertificateError: It is not the node's cosignature over the checkpoint that the ack names.
    """
    member = electorate.find(ack.node)
    body = Checkpoint(origin, ack.seq, ack.root).encode()
    if member is None or not is_valid(member.public_key, ack.cosignature, cosigned_message(body, ack.time_s)):
        raise CertificateError(f"ack of `{ack.node[:64]}` has an invalid cosignature")


def _granting_voters(lease: Lease, probe: Probe, acks: list[Ack], electorate: Electorate) -> frozenset[str]:
    """The voters that carry the lease.

    Any other ack counts for nothing, except as its own node's word that it moved on: a lying voter can withhold its
    own ack, but not spoil those of a quorum.
    """
    digest, checkpoint = probe_digest(lease.probe), probe.checkpoint
    moved_on = {ack.node for ack in acks if ack.seq >= checkpoint.seq}
    keys: set[bytes] = set()
    voters: set[str] = set()
    waiting: set[str] = set()
    for ack in acks:
        member = electorate.find(ack.node)
        # SAFETY: only acks of this very probe carry its grants
        # (test_certificate.py::test_acks_of_another_probe_do_not_carry_the_lease).
        if member is None or not member.voter or ack.probe != digest:
            continue
        if (ack.round, ack.seq, ack.root) != (probe.round, checkpoint.seq, checkpoint.root):
            continue
        # SAFETY: a holder that may still be serving an older seq forbids the certificate
        # (test_certificate.py::test_a_silent_outstanding_holder_forbids_the_lease).
        missing = set(ack.outstanding) - moved_on
        if missing:
            waiting |= missing
            continue
        keys.add(member.public_key)
        voters.add(member.id)
    if len(keys) < electorate.quorum_count:
        why = f"; holders {', '.join(sorted(waiting))[:256]} may still be serving an older state" if waiting else ""
        raise CertificateError(f"lease has acks of {len(keys)} of {electorate.quorum_count} voters{why}")
    return frozenset(voters)
