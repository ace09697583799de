"""Attestations: recording what attestors state, and settling what they disagree on.

Each attestor has one chain of statements about an entity and predicate type. A statement names the one that it
follows; only the last counts, and it counts while all of this holds:

    its time is not over · nothing marks it · no disagreement was settled against it ·
    its attestor is active and holds the role in the domain in which the entity is now

    statement of an attestor         supersedes       outcome
    none before                      none             recorded, chain of 1
    none before                      any              ATTESTATION_CONTINUITY
    the last one is D                D                recorded, D leaves; expired and dropped ones too are followed
    the last one is D                none, another    ATTESTATION_CONTINUITY
    on record as it is               any              ATTESTATION_CONTINUITY

Statements that count and say different things are a disagreement: the entity is denied everything until operators keep
one of them or none, until one expires, or until the attestors agree again.
"""

from __future__ import annotations

import hashlib

import msgspec

from govraft.core.codec.base64_text import from_base64
from govraft.core.codec.envelope import Envelope, decode_envelope
from govraft.core.codec.in_toto import STATEMENT_TYPE, Statement, decode_statement
from govraft.core.machine.attestation_view import ATTESTATION_PREFIX, Attestation
from govraft.core.machine.records import Mark, mark_key
from govraft.core.machine.requirement import Requirement, room
from govraft.core.machine.state import Changes, Context, State
from govraft.core.model import limits
from govraft.core.model.authority import Role
from govraft.core.model.commands import Attest, AttestationResolve
from govraft.core.model.ids import canonical_uid, is_action_type, parse_uid
from govraft.core.model.outcome import Rejected, Rejection
from govraft.errors import DecodeError, LimitExceededError

__all__ = ["attest", "counting", "counts", "disagreeing", "domain_of_entity", "of_resolution", "resolve"]


def domain_of_entity(state: State, uid: str) -> str:
    """The domain of an entity; the root for one that was never registered. `uid` is canonical."""
    return state.entities.domain(uid)


def counts(state: State, item: Attestation, time: int) -> bool:
    """Whether an attestation that is on record counts at a time."""
    authority = state.authorities.by_id.get(item.attestor)
    path = state.domains.path(domain_of_entity(state, item.entity))
    # SAFETY: each of these alone makes it count for nothing. test_attestations.test_what_does_not_count
    return (
        time < item.expires
        and item.dropped is None
        and mark_key("attestation", item.digest) not in state.entities.marks
        and authority is not None
        and authority.holds(Role.ATTESTOR, path)
    )


def counting(state: State, entity: str, predicate_type: str, time: int) -> list[Attestation]:
    """The attestations about an entity that count at a time, by the ids of the attestors.

    Args:
        state: Holds them.
        entity: Canonical uid.
        predicate_type: URI.
        time: WallMs.
    """
    heads = state.attestations.heads(entity, predicate_type)
    return [heads[name] for name in sorted(heads) if counts(state, heads[name], time)]


def disagreeing(state: State, entity: str, predicate_type: str, time: int) -> list[Attestation]:
    """As `counting`, if they do not all say the same; else none."""
    found = counting(state, entity, predicate_type, time)
    # SAFETY: one that differs is enough. test_attestation_disagreement.test_disagreement_table
    return found if len({item.claim for item in found}) > 1 else []


def attest(state: State, command: Attest, context: Context) -> Changes | Rejected:
    """Record a statement. Refused: unreadable, not signed by an author, out of domain or time, breaks its chain."""
    entity = _entity(command.entity)
    if isinstance(entity, Rejected):
        return entity
    if command.domain not in state.domains.path(domain_of_entity(state, entity)):
        return Rejected(Rejection.DOMAIN_INVALID, f"`{entity}` is not in `{command.domain}` or below it")
    opened = _open(command.statement)
    if isinstance(opened, Rejected):
        return opened
    data, envelope, statement = opened
    attestor = _signer(state, envelope, context)
    if attestor is None:
        return Rejected(
            Rejection.SIGNATURE_INVALID, "the statement must be signed by an attestor who signs the command too"
        )
    last = state.attestations.heads(entity, statement.predicate_type).get(attestor)
    digest = hashlib.sha256(data).hexdigest()
    refused = _check_time(command, context) or _check_chain(state, command, digest, last)
    if refused is not None:
        return refused
    changes = _make_room(state, last, context)
    if isinstance(changes, Rejected):
        return changes
    item = Attestation(
        digest=digest,
        entity=entity,
        predicate_type=statement.predicate_type,
        attestor=attestor,
        subjects=statement.subjects,
        predicate=statement.predicate,
        seq=context.seq,
        issued=context.time,
        expires=command.expires,
        length=1 if last is None else last.length + 1,
        supersedes=command.supersedes,
    )
    changes.put("attestations", ATTESTATION_PREFIX + digest, item)
    return changes


def of_resolution(state: State, command: AttestationResolve) -> Requirement | Rejected:
    """A threshold of operators in the domain of the entity."""
    try:
        return Requirement(Role.OPERATOR, domain_of_entity(state, canonical_uid(command.entity)))
    except DecodeError as error:
        return Rejected(Rejection.ENTITY_INVALID, str(error))


def resolve(state: State, command: AttestationResolve, context: Context) -> Changes | Rejected:
    """Settle a disagreement. Refused: there is none, or `keep` is not part of it."""
    entity = _entity(command.entity)
    if isinstance(entity, Rejected):
        return entity
    if len(command.reason) > limits.REASON_CHARS:
        return Rejected(Rejection.LIMIT_EXCEEDED, f"the reason is over {limits.REASON_CHARS} characters")
    found = disagreeing(state, entity, command.predicate_type, context.time)
    if not found:
        return Rejected(
            Rejection.ATTESTATION_UNKNOWN, f"attestors do not disagree on `{entity}`, `{command.predicate_type[:256]}`"
        )
    if command.keep is not None and all(item.digest != command.keep for item in found):
        return Rejected(Rejection.ATTESTATION_UNKNOWN, f"{command.keep} is none of those that disagree")
    changes = Changes()
    dropped = Mark(command.reason, context.authors, context.seq, context.time)
    for item in found:
        if item.digest != command.keep:
            settled = msgspec.structs.replace(item, dropped=dropped)
            changes.put("attestations", ATTESTATION_PREFIX + item.digest, settled)
    return changes


def _entity(text: str) -> str | Rejected:
    try:
        uid = parse_uid(text)
    except DecodeError as error:
        return Rejected(Rejection.ENTITY_INVALID, str(error))
    if is_action_type(uid.type):
        return Rejected(Rejection.ENTITY_INVALID, f"`{text}` is an action, attest principals and resources")
    return str(uid)


def _open(text: str) -> tuple[bytes, Envelope, Statement] | Rejected:
    """The bytes of a statement's envelope, the envelope, and what its payload comes to."""
    data = from_base64(text)
    if data is None:
        return Rejected(Rejection.ATTESTATION_INVALID, "`statement` is not standard base64 with padding")
    try:
        envelope = decode_envelope(data)
        if envelope.payload_type != STATEMENT_TYPE:
            return Rejected(Rejection.ATTESTATION_INVALID, f"the statement's payload type must be `{STATEMENT_TYPE}`")
        if len(envelope.signatures) != 1:
            return Rejected(Rejection.ATTESTATION_INVALID, "the statement must have one signature, its attestor's")
        return data, envelope, decode_statement(envelope.payload)
    except LimitExceededError as error:
        return Rejected(Rejection.LIMIT_EXCEEDED, str(error))
    except DecodeError as error:
        return Rejected(Rejection.ATTESTATION_INVALID, str(error))


def _signer(state: State, envelope: Envelope, context: Context) -> str | None:
    """Which author of the command signed the statement. Its key id is only a hint, and other tools write other ones."""
    signature, message = envelope.signatures[0].signature, envelope.signed_bytes
    # SAFETY: nobody records a statement in another's name. test_attestations.test_who_signed_the_statement
    return next(
        (
            author
            for author in context.authors
            if context.is_valid(state.authorities.by_id[author].public_key, signature, message)
        ),
        None,
    )


def _check_time(command: Attest, context: Context) -> Rejected | None:
    if command.expires <= context.time:
        return Rejected(Rejection.ATTESTATION_INVALID, "`expires` has passed, the statement would never count")
    if command.expires > context.time + limits.ATTESTATION_LIFE_MS:
        return Rejected(
            Rejection.LIMIT_EXCEEDED, f"`expires` is over {limits.ATTESTATION_LIFE_MS} ms ahead, bring it nearer"
        )
    return None


def _check_chain(state: State, command: Attest, digest: str, last: Attestation | None) -> Rejected | None:
    if digest in state.attestations.by_digest:
        return Rejected(Rejection.ATTESTATION_CONTINUITY, f"statement {digest} is on record already, make a new one")
    # SAFETY: no statement slips in between or beside those that people saw. test_attestations.test_continuity
    if command.supersedes != (None if last is None else last.digest):
        expected = "nothing, there is none before it" if last is None else f"{last.digest}, the last one"
        return Rejected(Rejection.ATTESTATION_CONTINUITY, f"it must supersede {expected}")
    return None


def _make_room(state: State, last: Attestation | None, context: Context) -> Changes | Rejected:
    """Changes that remove the statement before this one; or, for the first of a chain at the limit, an expired one."""
    changes = Changes()
    most = room(state, limits.ATTESTATIONS, Role.ATTESTOR, context.authors)
    if last is None and len(state.attestations.by_digest) < most:
        return changes
    leaving = last if last is not None else state.attestations.longest_expired(context.time)
    if leaving is None:
        return Rejected(Rejection.LIMIT_EXCEEDED, f"{most} attestations are on record, wait for expiry")
    changes.remove("attestations", ATTESTATION_PREFIX + leaving.digest)
    return changes
