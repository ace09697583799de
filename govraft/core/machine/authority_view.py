"""The section `authorities`, decoded: who holds which key and role, and how many of them a command takes.

authority/<id>                 Authority
threshold/<role>[@<domain>]    how many distinct keys, in the root domain or another one
retired/<key id>               seq at which a key was replaced: it never comes back

A revoked authority keeps its record, and with it its key, so that this does not come back either.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from govraft.core.crypto.keys import key_id
from govraft.core.model.authority import Authority, Role
from govraft.core.model.ids import ROOT_DOMAIN

__all__ = ["AUTHORITY_PREFIX", "RETIRED_PREFIX", "THRESHOLD_PREFIX", "AuthoritiesView", "threshold_key"]

AUTHORITY_PREFIX = "authority/"
THRESHOLD_PREFIX = "threshold/"
RETIRED_PREFIX = "retired/"

_decode_authority = msgspec.msgpack.Decoder(Authority).decode
_decode_count = msgspec.msgpack.Decoder(int).decode


def threshold_key(role: Role, domain: str) -> str:
    """Key of a threshold."""
    return THRESHOLD_PREFIX + (role.value if domain == ROOT_DOMAIN else f"{role.value}@{domain}")


class AuthoritiesView:
    """Authorities by id and by key, and thresholds."""

    def __init__(self) -> None:
        self.by_id: dict[str, Authority] = {}
        self.keys: dict[str, bytes] = {}
        """Public keys by key id, those of suspended and revoked authorities too: a bad signature refuses all."""
        self.key_holders: dict[str, Authority] = {}
        self.thresholds: dict[tuple[Role, str], int] = {}
        self.retired: dict[str, None] = {}
        """Ids of keys that never come back."""

    def needed(self, role: Role, path: Sequence[str]) -> int:
        """How many distinct keys a command of that role takes.

        Args:
            role: Of the command.
            path: Its domain and those above it, up to the root.
        """
        return next((self.thresholds[role, domain] for domain in path if (role, domain) in self.thresholds), 1)

    def note(self, key: str, value: bytes | None) -> None:
        """Take over a change of the section."""
        if key.startswith(AUTHORITY_PREFIX):
            self._note_authority(key[len(AUTHORITY_PREFIX) :], value)
        elif key.startswith(THRESHOLD_PREFIX):
            role, _, domain = key[len(THRESHOLD_PREFIX) :].partition("@")
            place = Role(role), domain or ROOT_DOMAIN
            if value is None:
                self.thresholds.pop(place, None)
            else:
                self.thresholds[place] = _decode_count(value)
        elif value is not None:
            self.retired[key[len(RETIRED_PREFIX) :]] = None

    def _note_authority(self, identifier: str, value: bytes | None) -> None:
        old = self.by_id.pop(identifier, None)
        # A key that went to another authority in the same command has a new holder by now.
        if old is not None and self.key_holders[key_id(old.public_key)].id == identifier:
            del self.keys[key_id(old.public_key)], self.key_holders[key_id(old.public_key)]
        if value is not None:
            authority = self.by_id[identifier] = _decode_authority(value)
            name = key_id(authority.public_key)
            self.keys[name], self.key_holders[name] = authority.public_key, authority
