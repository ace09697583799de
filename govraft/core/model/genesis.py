"""The genesis: the file from which everything else about a cluster can be verified.

It is canonical JSON, so that one genesis has one spelling and one digest, the cluster id. It fixes what safety needs
every node to agree on from the first entry: members and their pinned keys, the quorum rule, the lease length and
the clock bounds, the authorities and how many of them it takes. It is decoded strictly: a genesis in which some role
could never act, or in which one key could count twice, is refused rather than repaired.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any

import msgspec

from govraft.core.codec.canonical import pack_json, unpack_json
from govraft.core.codec.complaints import in_words
from govraft.core.crypto.digests import digest
from govraft.core.crypto.keys import certificate_key, is_sound_key
from govraft.core.model import limits
from govraft.core.model.authority import Authority, Role
from govraft.core.model.electorate import Electorate, Member, QuorumRule, is_address
from govraft.core.model.ids import AUTHORITY_ID_PATTERN, NODE_ID_PATTERN
from govraft.core.model.rules import RULES_FIRST, RULES_NEWEST, explain_unknown_rules
from govraft.errors import DecodeError, InputError

__all__ = ["FIRST_EPOCH", "REQUIRED_ROLES", "TIME_MAX_MS", "Genesis"]

FIRST_EPOCH = 1
REQUIRED_ROLES = (Role.OPERATOR, Role.POLICY, Role.ROOT)
"""The roles with a threshold; a cluster in which one of them cannot act is not created."""

TIME_MAX_MS = 253_402_300_799_999
"""The end of the year 9999. Later times are not plausible, and could not be written in RFC 3339."""

_NAME = re.compile(rf"[^\x00-\x1f\x7f]{{1,{limits.NAME_CHARS}}}")


class _MemberFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: Annotated[str, msgspec.Meta(pattern=NODE_ID_PATTERN)]
    public_key: str
    certificate: str
    voter: bool
    address: str


class _AuthorityFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: Annotated[str, msgspec.Meta(pattern=AUTHORITY_ID_PATTERN)]
    public_key: str
    roles: tuple[Role, ...]


class _GenesisFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    name: str
    created: Annotated[int, msgspec.Meta(ge=1, le=TIME_MAX_MS)]
    nonce: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
    quorum: QuorumRule
    lease_ms: Annotated[int, msgspec.Meta(ge=limits.LEASE_LEAST_MS, le=limits.LEASE_MS)]
    clock_drift_max_ppm: Annotated[int, msgspec.Meta(ge=0, le=limits.CLOCK_DRIFT_PPM)]
    clock_skew_max_ms: Annotated[int, msgspec.Meta(ge=1, le=limits.LEASE_MS)]
    members: tuple[_MemberFile, ...]
    authorities: tuple[_AuthorityFile, ...]
    thresholds: dict[Role, Annotated[int, msgspec.Meta(ge=1)]]
    rules: Annotated[int, msgspec.Meta(ge=RULES_FIRST)] = RULES_FIRST


class Genesis(msgspec.Struct, frozen=True, dict=True):
    """A decoded genesis.

    Attributes:
        version: Of the format, 1.
        name: For people.
        created: WallMs; the time of leaf 1.
        nonce: 32 hexadecimal digits that make the cluster id unique.
        quorum: How many voters make a quorum.
        lease_ms: Length L of a lease.
        clock_drift_max_ppm: Bound on the error of a clock's rate, parts per million.
        clock_skew_max_ms: Bound on the difference between the wall clocks of two nodes.
        members: Voters and observers, sorted by id.
        authorities: Sorted by id.
        thresholds: How many distinct keys of a role a command needs, by role name.
        rules: By which the first entries are applied (`core/model/rules.py`); the file leaves out 1.
    """

    version: int
    name: str
    created: int
    nonce: str
    quorum: QuorumRule
    lease_ms: int
    clock_drift_max_ppm: int
    clock_skew_max_ms: int
    members: tuple[Member, ...]
    authorities: tuple[Authority, ...]
    thresholds: dict[str, int]
    rules: int = RULES_FIRST

    @classmethod
    def decode(cls, data: bytes) -> Genesis:
        """Decode and validate a genesis file.

        Raises:
            DecodeError: Not canonical JSON, or a field is missing, unknown or unusable; the message names it.
        """
        try:
            file = msgspec.convert(unpack_json(data, max_bytes=limits.GENESIS_BYTES), _GenesisFile)
        except msgspec.ValidationError as error:
            raise DecodeError(f"genesis: {in_words(error)}") from error
        except InputError as error:
            raise DecodeError(f"genesis: {in_words(error)}") from error
        _check_header(file)
        members = tuple(_member(item, f"members[{place}]") for place, item in enumerate(file.members))
        authorities = tuple(_authority(item, f"authorities[{place}]") for place, item in enumerate(file.authorities))
        _check_members(members)
        _check_authorities(authorities)
        _check_distinct([m.public_key for m in members] + [a.public_key for a in authorities], "public_key")
        _check_thresholds(file.thresholds, authorities)
        genesis = cls(
            file.version,
            file.name,
            file.created,
            file.nonce,
            file.quorum,
            file.lease_ms,
            file.clock_drift_max_ppm,
            file.clock_skew_max_ms,
            members,
            authorities,
            {role.value: count for role, count in file.thresholds.items()},
            file.rules,
        )
        # Enums and base64 leave no second spelling; should one ever appear, two files would mean one cluster.
        if genesis.encode() != data:
            raise DecodeError("genesis: another spelling of the same content, create it with `govraft init`")
        return genesis

    def encode(self) -> bytes:
        """The bytes of the genesis file."""
        # Left out, 1 has one spelling: that of all files from before there were numbers.
        rules = {} if self.rules == RULES_FIRST else {"rules": self.rules}
        return pack_json(
            {
                **rules,
                "version": self.version,
                "name": self.name,
                "created": self.created,
                "nonce": self.nonce,
                "quorum": self.quorum.value,
                "lease_ms": self.lease_ms,
                "clock_drift_max_ppm": self.clock_drift_max_ppm,
                "clock_skew_max_ms": self.clock_skew_max_ms,
                "members": [_member_fields(member) for member in self.members],
                "authorities": [
                    {"id": a.id, "public_key": _text(a.public_key), "roles": [role.value for role in a.roles]}
                    for a in self.authorities
                ],
                "thresholds": dict(self.thresholds),
            }
        )

    @cached_property
    def cluster_id(self) -> str:
        """Digest of the file, 64 hexadecimal digits. Every signed object is bound to it."""
        return digest("genesis", self.encode()).hex()

    @property
    def origin(self) -> str:
        """Origin line of the cluster's checkpoints."""
        return f"govraft.dev/{self.cluster_id}"

    def electorate(self) -> Electorate:
        """The electorate of the first epoch."""
        return Electorate(FIRST_EPOCH, self.quorum, self.members)


def _check_header(file: _GenesisFile) -> None:
    if file.version != 1:
        raise DecodeError(f"genesis: `version` is {file.version}, this govraft reads version 1")
    if _NAME.fullmatch(file.name) is None:
        raise DecodeError(f"genesis: `name` must be 1 to {limits.NAME_CHARS} printable characters")
    if file.rules > RULES_NEWEST:
        raise DecodeError(f"genesis: `rules`: {explain_unknown_rules(file.rules)}")


def _member(item: _MemberFile, where: str) -> Member:
    key = _public_key(item.public_key, where)
    certificate = _decode_base64(item.certificate, f"{where}.certificate")
    if len(certificate) > limits.CERTIFICATE_BYTES or certificate_key(certificate) != key:
        raise DecodeError(f"genesis: `{where}.certificate` is not an X.509 certificate of the member's `public_key`")
    if not is_address(item.address):
        raise DecodeError(f"genesis: `{where}.address` is `{item.address[:300]}`, write `host:port`")
    return Member(item.id, key, certificate, item.voter, item.address)


def _authority(item: _AuthorityFile, where: str) -> Authority:
    if not item.roles or list(item.roles) != sorted(set(item.roles)):
        raise DecodeError(f"genesis: `{where}.roles` must name at least one role, sorted, each once")
    return Authority(item.id, _public_key(item.public_key, where), item.roles)


def _check_members(members: Sequence[Member]) -> None:
    voters = sum(member.voter for member in members)
    if not 1 <= voters <= limits.VOTERS:
        raise DecodeError(f"genesis: `members` has {voters} voters, it needs 1 to {limits.VOTERS}")
    if len(members) - voters > limits.OBSERVERS:
        raise DecodeError(f"genesis: `members` has over {limits.OBSERVERS} observers")
    _check_sorted([member.id for member in members], "members")
    # One address may be a placeholder shared by members behind a proxy; keys and certificates never are.
    _check_distinct([member.certificate for member in members], "certificate")


def _check_authorities(authorities: Sequence[Authority]) -> None:
    if len(authorities) > limits.AUTHORITIES:
        raise DecodeError(f"genesis: `authorities` has over {limits.AUTHORITIES} entries")
    _check_sorted([authority.id for authority in authorities], "authorities")


def _check_sorted(ids: list[str], field: str) -> None:
    if ids != sorted(set(ids)):
        raise DecodeError(f"genesis: the ids of `{field}` must be sorted and distinct")


def _check_distinct(values: list[bytes], field: str) -> None:
    # SAFETY: one key in two places would vote or sign twice. test_genesis.test_a_key_counts_once
    if len(set(values)) != len(values):
        raise DecodeError(f"genesis: one `{field}` appears twice")


def _check_thresholds(thresholds: dict[Role, int], authorities: Sequence[Authority]) -> None:
    if not set(thresholds) >= set(REQUIRED_ROLES):
        raise DecodeError("genesis: `thresholds` must name `operator`, `policy` and `root`")
    for role, needed in sorted(thresholds.items()):
        holders = sum(role in authority.roles for authority in authorities)
        if needed > min(holders, limits.SIGNATURES_PER_ENVELOPE):
            raise DecodeError(f"genesis: `thresholds.{role.value}` is {needed}, only {holders} authorities hold it")


def _public_key(text: str, where: str) -> bytes:
    key = _decode_base64(text, f"{where}.public_key")
    if not is_sound_key(key):
        raise DecodeError(f"genesis: `{where}.public_key` is not a usable Ed25519 key")
    return key


def _decode_base64(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise DecodeError(f"genesis: `{where}` is not standard base64") from error


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _member_fields(member: Member) -> dict[str, Any]:
    return {
        "id": member.id,
        "public_key": _text(member.public_key),
        "certificate": _text(member.certificate),
        "voter": member.voter,
        "address": member.address,
    }
