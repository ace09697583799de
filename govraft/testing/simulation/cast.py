"""Who takes part in a run: a genesis and keys, made from the seed alone, and two ways to sign.

Most seeds sign with hashes: nobody in those runs forges, and a hash is fifty times as fast. A fixed share signs with
Ed25519, so that nothing rests on the stand-in.
"""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Callable

import msgspec

from govraft.core.convergence.certificate import IsValid
from govraft.core.convergence.cosigner import FormerKey
from govraft.core.crypto.keys import verify
from govraft.core.crypto.verification_cache import VerificationCache
from govraft.core.model.electorate import QuorumRule
from govraft.core.model.genesis import Genesis
from govraft.core.model.rules import RULES_NEWEST
from govraft.testing.sample import SampleCluster, node_certificate
from govraft.testing.simulation.plan import Configuration
from govraft.testing.simulation.workload import node_key

__all__ = ["Cast", "stand_in_is_valid", "stand_in_sign"]


def stand_in_sign(public_key: bytes, message: bytes) -> bytes:
    """What stands for a signature: 64 bytes that only this key and message give."""
    return hashlib.sha512(public_key + message).digest()


def stand_in_is_valid(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Verify what `stand_in_sign` made."""
    return signature == hashlib.sha512(public_key + message).digest()


class Cast:
    """The members and authorities of one run.

    Attributes:
        genesis: Of the cluster.
        sample: Signs commands.
        names: All nodes, sorted; those of the genesis and others that may join.
    """

    def __init__(self, configuration: Configuration) -> None:
        rule = QuorumRule(configuration.quorum)
        self.sample = copy.copy(_sample(configuration.voters, configuration.observers, rule))
        draft = msgspec.structs.replace(
            self.sample.genesis,
            nonce=hashlib.sha256(f"nonce of seed {configuration.seed}".encode()).hexdigest()[:32],
            lease_ms=configuration.lease_ms,
            clock_drift_max_ppm=configuration.drift_ppm,
            clock_skew_max_ms=configuration.skew_ms,
        )
        self.genesis = self.sample.genesis = Genesis.decode(draft.encode())
        self.names = configuration.names
        self._is_real = configuration.real_keys

    def public_key(self, name: str, generation: int = 0) -> bytes:
        """A node's key, the first one or one that took its place."""
        return node_key(name, generation).public_key().public_bytes_raw()

    def certificate(self, name: str, generation: int = 0) -> bytes:
        """The certificate of that key."""
        return _certificate(name, generation)

    def signing(self, name: str, generation: int = 0) -> Callable[[bytes], bytes]:
        """How a node signs with that key."""
        key = node_key(name, generation)
        if self._is_real:
            return key.sign
        return functools.partial(stand_in_sign, key.public_key().public_bytes_raw())

    def former_key(self, name: str, generation: int) -> FormerKey | None:
        """The key that a node had before that one."""
        if generation == 0:
            return None
        return FormerKey(self.public_key(name, generation - 1), self.signing(name, generation - 1))

    def is_valid(self) -> IsValid:
        """How a node verifies; each life its own memory, as in production."""
        return VerificationCache(verify) if self._is_real else stand_in_is_valid


@functools.lru_cache(maxsize=4_096)
def _certificate(name: str, generation: int) -> bytes:
    return node_certificate(name, node_key(name, generation))


@functools.lru_cache(maxsize=32)
def _sample(voters: int, observers: int, quorum: QuorumRule) -> SampleCluster:
    return SampleCluster(voters=voters, observers=observers, quorum=quorum, attestors=2, rules=RULES_NEWEST)
