"""A sample cluster with all its keys: a genesis to start machines from, and signed envelopes to feed them.

Everything is derived from short seeds, so that the same call gives the same bytes on every machine and in every run.
The keys are therefore known to everybody: never govern anything with them.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from govraft.core.codec.envelope import pae, seal
from govraft.core.machine.entry import encode_entry
from govraft.core.model.authority import Authority, Role
from govraft.core.model.commands import Command, encode_command, payload_type
from govraft.core.model.electorate import Member, QuorumRule
from govraft.core.model.genesis import Genesis
from govraft.core.model.rules import RULES_FIRST
from govraft.core.model.units import WallMs

__all__ = ["CREATED", "SampleCluster", "node_certificate", "seeded_key"]

CREATED = WallMs(1_700_000_000_000)
"""Time of the sample genesis."""

_AUTHORITIES = {
    "olga": (Role.OPERATOR,),
    "oscar": (Role.OPERATOR,),
    "pat": (Role.POLICY,),
    "paula": (Role.POLICY,),
    "rita": (Role.ROOT,),
    "ruth": (Role.AUDITOR, Role.ROOT),
}
_ATTESTORS = ("abe", "ada")


def seeded_key(seed: str) -> Ed25519PrivateKey:
    """The private key that belongs to a seed."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"govraft sample key " + seed.encode()).digest())


class SampleCluster:
    """A genesis and the private keys of everybody in it.

    Nodes are named n1, n2, …; operators olga and oscar, policy authorities pat and paula, roots rita and ruth.
    """

    def __init__(
        self,
        *,
        voters: int = 3,
        observers: int = 0,
        quorum: QuorumRule = QuorumRule.MAJORITY,
        operators_needed: int = 1,
        policies_needed: int = 1,
        attestors: int = 0,
        name: str = "sample",
        lease_ms: int = 1_000,
        rules: int = RULES_FIRST,
    ) -> None:
        """Derive a cluster.

        Args:
            voters: How many nodes vote; they come first.
            observers: How many do not.
            quorum: Quorum rule.
            operators_needed: Threshold of the operators, 1 or 2.
            policies_needed: Threshold of the policy authorities, 1 or 2.
            attestors: How many there are, 0 to 2: abe and ada.
            name: Name of the cluster; another name gives another cluster id, but the same keys.
            lease_ms: Lease length.
            rules: Of the genesis.
        """
        ids = sorted(f"n{number}" for number in range(1, voters + observers + 1))
        self.node_keys = {node: seeded_key(f"node {node}") for node in ids}
        roles = {**_AUTHORITIES, **dict.fromkeys(_ATTESTORS[:attestors], (Role.ATTESTOR,))}
        self.authority_keys = {authority: seeded_key(f"authority {authority}") for authority in sorted(roles)}
        self._commands = 0
        members = tuple(
            Member(
                node,
                key.public_key().public_bytes_raw(),
                node_certificate(node, key),
                int(node[1:]) <= voters,
                f"127.0.0.1:{7000 + int(node[1:])}",
            )
            for node, key in self.node_keys.items()
        )
        authorities = tuple(
            Authority(authority, key.public_key().public_bytes_raw(), roles[authority])
            for authority, key in self.authority_keys.items()
        )
        draft = Genesis(
            version=1,
            name=name,
            created=CREATED,
            nonce=hashlib.sha256(name.encode()).hexdigest()[:32],
            quorum=quorum,
            lease_ms=lease_ms,
            clock_drift_max_ppm=10_000,
            clock_skew_max_ms=500,
            members=members,
            authorities=authorities,
            thresholds={"operator": operators_needed, "policy": policies_needed, "root": 2},
            rules=rules,
        )
        self.genesis = Genesis.decode(draft.encode())

    def header(self, command_id: str | None = None, not_after: int = CREATED + 3_600_000) -> dict[str, Any]:
        """Header fields for a command of this cluster, with an id not used before."""
        self._commands += 1
        name = f"c{self._commands}" if command_id is None else command_id
        return {"cluster": self.genesis.cluster_id, "command_id": name, "not_after": not_after}

    def sign(self, command: Command, *authors: str) -> bytes:
        """The envelope of a command, signed by authorities of these ids."""
        return self.sign_payload(payload_type(command), encode_command(command), authors)

    def sign_payload(self, kind: str, payload: bytes, authors: Sequence[str]) -> bytes:
        """The envelope of any payload, signed by authorities of these ids."""
        message = pae(kind, payload)
        keys = [self.authority_keys[author] for author in authors]
        return seal(kind, payload, [(key.public_key().public_bytes_raw(), key.sign(message)) for key in keys])

    def entry(self, command: Command, *authors: str, time: int = CREATED + 1_000) -> bytes:
        """The entry of a command."""
        return encode_entry(WallMs(time), self.sign(command, *authors))


def node_certificate(node: str, key: Ed25519PrivateKey) -> bytes:
    """The certificate of a node with that key."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node)])
    serial = int.from_bytes(hashlib.sha256(node.encode()).digest()[:16], "big") | 1
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(dt.datetime(2023, 1, 1, tzinfo=dt.UTC))
        .not_valid_after(dt.datetime(9999, 12, 31, tzinfo=dt.UTC))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    return builder.sign(key, None).public_bytes(Encoding.DER)
