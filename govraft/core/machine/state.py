"""The replicated state: ten sections of records, each with a digest whose cost follows the change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from govraft.core.codec.canonical import pack
from govraft.core.crypto.digests import digest
from govraft.core.crypto.keys import key_id
from govraft.core.machine import trie
from govraft.core.machine.records import SECTIONS, encode_record
from govraft.core.machine.views import AuditView, EntitiesView, PoliciesView
from govraft.core.model.authority import Authority, Role
from govraft.core.model.electorate import Electorate
from govraft.core.model.genesis import Genesis

__all__ = ["Changes", "Context", "State", "genesis_changes"]


class Context(NamedTuple):
    """What a handler may know besides state and command.

    Attributes:
        seq: Of the entry.
        time: WallMs of the machine at the entry.
        authors: Ids of the authorities whose signatures met the threshold, sorted.
    """

    seq: int
    time: int
    authors: tuple[str, ...]


class Changes:
    """What a handler wants changed: section, key, and new bytes or None to remove. Only `State.commit` does it."""

    __slots__ = ("by_section",)

    def __init__(self) -> None:
        self.by_section: dict[str, dict[str, bytes | None]] = {}

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
        self.policies = PoliciesView()
        self.entities = EntitiesView()
        self.audit = AuditView()
        self.electorate: Electorate = genesis.electorate()
        self.authorities: dict[str, Authority] = {item.id: item for item in genesis.authorities}
        self.keys: dict[str, bytes] = {key_id(item.public_key): item.public_key for item in genesis.authorities}
        self.key_holders: dict[str, Authority] = {key_id(item.public_key): item for item in genesis.authorities}
        self.thresholds: dict[Role, int] = {Role(name): count for name, count in genesis.thresholds.items()}
        self._views: dict[str, Callable[[str, bytes | None], None]] = {
            "policies": self.policies.note,
            "entities": self.entities.note,
            "audit": self.audit.note,
        }
        self.commit(genesis_changes(genesis))

    def records(self, section: str) -> Mapping[str, bytes]:
        """The records of a section by key, as their exact bytes."""
        return MappingProxyType(self._sections[section].values)

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
    changes.put("electorate", "epoch", {"epoch": electorate.epoch, "rule": electorate.rule.value})
    changes.put("electorate", "timing", timing)
    for member in electorate.members:
        changes.put("electorate", f"member/{member.id}", member)
    for authority in genesis.authorities:
        changes.put("authorities", f"authority/{authority.id}", authority)
    for role, count in genesis.thresholds.items():
        changes.put("authorities", f"threshold/{role}", count)
    return changes
