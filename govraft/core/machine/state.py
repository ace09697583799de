"""The replicated state: ten sections of records, each with a digest whose cost follows the change."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from govraft.core.codec.canonical import pack
from govraft.core.crypto.digests import digest
from govraft.core.crypto.keys import verify
from govraft.core.machine import trie
from govraft.core.machine.attestation_view import AttestationsView
from govraft.core.machine.authority_view import AUTHORITY_PREFIX, AuthoritiesView, threshold_key
from govraft.core.machine.boundary_view import BoundariesView
from govraft.core.machine.domain_view import DomainsView
from govraft.core.machine.electorate_view import EPOCH_KEY, MEMBER_PREFIX, ElectorateView
from govraft.core.machine.grant_view import GrantsView
from govraft.core.machine.policy_view import PoliciesView
from govraft.core.machine.proposal_view import ProposalsView
from govraft.core.machine.records import SECTIONS, encode_record
from govraft.core.machine.views import AuditView, EntitiesView
from govraft.core.model.authority import Role
from govraft.core.model.electorate import Electorate
from govraft.core.model.genesis import Genesis
from govraft.core.model.ids import ROOT_DOMAIN
from govraft.errors import LineageError

__all__ = ["Changes", "Context", "State", "genesis_changes"]

_FIXED = ("timing",)
"""Keys of the section `electorate` that stay as the genesis says."""


class Context(NamedTuple):
    """What a handler may know besides state and command.

    Attributes:
        seq: Of the entry.
        time: WallMs of the machine at the entry.
        authors: Ids of the authorities whose signatures met what the command takes, sorted.
        signers: Ids of all active authorities that signed, sorted.
        node: Id of the member that signed, if one did.
        cluster_id: Of this cluster.
        signed_bytes: What the signatures sign.
        foreign: Signatures by keys that are nobody's here, by key id; not verified.
        is_valid: Checks a signature: `(public_key, signature, message) -> bool`.
    """

    seq: int
    time: int
    authors: tuple[str, ...]
    signers: tuple[str, ...] = ()
    node: str | None = None
    cluster_id: str = ""
    signed_bytes: bytes = b""
    foreign: Mapping[str, bytes] = {}
    is_valid: Callable[[bytes, bytes, bytes], bool] = verify


class Changes:
    """What a handler wants changed: section, key, and new bytes or None to remove. Only `State.commit` does it.

    `unchanged` names what a command listed and left as it is.
    """

    __slots__ = ("by_section", "unchanged")

    def __init__(self) -> None:
        self.by_section: dict[str, dict[str, bytes | None]] = {}
        self.unchanged: list[str] = []

    def put(self, section: str, key: str, record: object) -> int:
        """Set a key to a record, and tell how many bytes it takes.

        Raises:
            InputError: The record has no canonical form.
        """
        encoded = encode_record(record)
        self.by_section.setdefault(section, {})[key] = encoded
        return len(encoded)

    def remove(self, section: str, key: str) -> None:
        """Remove a key."""
        self.by_section.setdefault(section, {})[key] = None

    def remove_unless_put(self, section: str, key: str) -> None:
        """Remove a key, but keep what these changes themselves put there."""
        self.by_section.setdefault(section, {}).setdefault(key, None)


class _Section:
    """Records by key, and the trie over them."""

    __slots__ = ("trie", "values")

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.trie: trie.Node = None

    def fill(self, values: Mapping[str, bytes]) -> None:
        """Hold these records, and no others."""
        self.values = dict(values)
        self.trie = trie.build((key.encode(), value) for key, value in values.items())

    def change(self, key: str, value: bytes | None) -> bool:
        """Store or remove one record. Whether that changed anything."""
        if self.values.get(key) == value:
            return False
        if value is None:
            del self.values[key]
            self.trie = trie.remove(self.trie, key.encode())
        else:
            self.values[key] = value
            self.trie = trie.insert(self.trie, key.encode(), value)
        return True


class State:
    """The ten sections and their decoded views. Changed only by `commit`."""

    def __init__(self, genesis: Genesis) -> None:
        self._sections = {name: _Section() for name in SECTIONS}
        self.digests: dict[str, bytes] = dict.fromkeys(SECTIONS, trie.EMPTY_DIGEST)
        self.state_root = b""
        self._genesis_rules = genesis.rules
        self.policies = PoliciesView()
        self.entities = EntitiesView()
        self.audit = AuditView()
        self.authorities = AuthoritiesView()
        self.members = ElectorateView()
        self.domains = DomainsView()
        self.attestations = AttestationsView()
        self.grants = GrantsView()
        self.boundaries = BoundariesView()
        self.proposals = ProposalsView()
        self.keys: Mapping[str, bytes] = ChainMap(self.authorities.keys, self.members.keys)
        """Public keys of authorities and members by key id."""
        self._views: dict[str, Callable[[str, bytes | None], None]] = {
            "policies": self.policies.note,
            "authorities": self.authorities.note,
            "electorate": self.members.note,
            "entities": self.entities.note,
            "attestations": self.attestations.note,
            "grants": self.grants.note,
            "boundaries": self.boundaries.note,
            "proposals": self.proposals.note,
            "domains": self.domains.note,
            "audit": self.audit.note,
        }
        self.commit(genesis_changes(genesis))

    @classmethod
    def restored(cls, genesis: Genesis, records: Mapping[str, Mapping[str, bytes]], digests: dict[str, bytes]) -> State:
        """The state of these records, by section and key, whose sections have these digests.

        Raises:
            LineageError: They have other digests, or hold what no state after this genesis can.
        """
        state = cls(genesis)
        # What no command changes must be as the genesis says.
        first = state._sections["electorate"].values
        if any(records["electorate"].get(key) != first[key] for key in _FIXED):
            raise LineageError("section `electorate` is not one of this genesis")
        begun = {name: tuple(section.values) for name, section in state._sections.items()}
        for name, section in state._sections.items():
            section.fill(records[name])
        found = {name: trie.node_digest(section.trie) for name, section in state._sections.items()}
        # SAFETY: not a byte is decoded or used that the digests do not vouch for
        # (test_snapshot.py::test_a_changed_record_is_refused).
        if found != digests:
            wrong = sorted(name for name in found if found[name] != digests.get(name))
            raise LineageError(f"section `{', '.join(wrong)}` has another digest than the lineage says")
        for name, view in state._views.items():
            for key in begun[name]:
                if key not in records[name]:
                    view(key, None)
            for key, value in records[name].items():
                view(key, value)
        state.digests = found
        state.state_root = digest("state", pack(found))
        return state

    @property
    def electorate(self) -> Electorate:
        """The members of the current epoch; the same object until they change."""
        return self.members.current

    @property
    def rules(self) -> int:
        """The number of the rules by which the next entry is applied, known here or not."""
        return self._genesis_rules if self.domains.rules is None else self.domains.rules

    def records(self, section: str) -> Mapping[str, bytes]:
        """The records of a section by key, as their exact bytes."""
        return MappingProxyType(self._sections[section].values)

    def copy_records(self) -> dict[str, dict[str, bytes]]:
        """The records by section and key, in dicts of their own: the bytes are shared, so it costs little."""
        return {name: dict(section.values) for name, section in self._sections.items()}

    def commit(self, changes: Changes) -> frozenset[str]:
        """Carry out changes. The names of the sections whose digest is another one now."""
        touched = []
        for name, by_key in changes.by_section.items():
            section, view = self._sections[name], self._views.get(name)
            for key, value in by_key.items():
                # An equal value changes nothing, and readers may go on using the decoded object they hold.
                if section.change(key, value) and view is not None:
                    view(key, value)
            if trie.node_digest(section.trie) != self.digests[name]:
                touched.append(name)
        if touched or not self.state_root:
            # A new dict each time: leaves and probes keep the one of their seq.
            self.digests = {name: trie.node_digest(section.trie) for name, section in self._sections.items()}
            self.state_root = digest("state", pack(self.digests))
        return frozenset(touched)


def genesis_changes(genesis: Genesis) -> Changes:
    """The records of a fresh state."""
    changes = Changes()
    timing = {
        "lease_ms": genesis.lease_ms,
        "clock_drift_max_ppm": genesis.clock_drift_max_ppm,
        "clock_skew_max_ms": genesis.clock_skew_max_ms,
    }
    electorate = genesis.electorate()
    changes.put("electorate", EPOCH_KEY, {"epoch": electorate.epoch, "rule": electorate.rule.value})
    changes.put("electorate", "timing", timing)
    for member in electorate.members:
        changes.put("electorate", MEMBER_PREFIX + member.id, member)
    for authority in genesis.authorities:
        changes.put("authorities", AUTHORITY_PREFIX + authority.id, authority)
    for role, count in genesis.thresholds.items():
        changes.put("authorities", threshold_key(Role(role), ROOT_DOMAIN), count)
    return changes
