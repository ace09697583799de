"""Commands of a `LocalCluster`, signed with the keys of its authorities, which lie beside it in plain files."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from govraft.core.codec.envelope import pae, seal
from govraft.core.model.authority import Role
from govraft.core.model.commands import (
    Command,
    EnforcementCommand,
    MemberAdd,
    MemberFields,
    MemberPromote,
    MemberRemove,
    MemberRotate,
    PolicyActivate,
    PolicyPublish,
    Quarantine,
    Release,
    Revoke,
    TargetKind,
    encode_command,
    payload_type,
    required_role,
)
from govraft.core.model.genesis import Genesis
from govraft.core.model.units import NS_PER_MS
from govraft.testing.local_cluster_errors import ClusterError

__all__ = ["CommandOffice", "open_schema"]

_VALIDITY_MS = 600_000


def open_schema(principal: str, action: str, resource: str) -> tuple[str, str]:
    """A schema of one kind of question, and a policy that permits it to everybody."""
    schema = (
        f"entity {principal}; entity {resource}; "
        f"action {action} appliesTo {{ principal: [{principal}], resource: [{resource}] }};"
    )
    return schema, f'permit (principal, action == Action::"{action}", resource);'


class CommandOffice:
    """Makes envelopes. Every one has an id of its own and is valid for ten minutes."""

    def __init__(self, genesis: Genesis, keys: Path) -> None:
        """Read the private keys in the directory `keys`.

        Raises:
            ClusterError: A key cannot be read.
        """
        self._genesis = genesis
        self._numbers = itertools.count(1)
        self.keys = {path.stem: _private_key(path) for path in sorted(keys.glob("*.pem"))}

    def header(self, **fields: Any) -> dict[str, Any]:
        """Header fields of a command; `fields` are added, or replace them."""
        name = f"{secrets.token_hex(4)}-{next(self._numbers)}"
        not_after = time.time_ns() // NS_PER_MS + _VALIDITY_MS
        return {"cluster": self._genesis.cluster_id, "command_id": name, "not_after": not_after} | fields

    def seal(
        self, command: Command, authors: Sequence[str] | None = None, also: Sequence[Ed25519PrivateKey] = ()
    ) -> bytes:
        """The envelope of a command.

        Args:
            command: Any.
            authors: Ids of the authorities that sign; None for as many as its role demands.
            also: More keys that sign, such as those that the command brings in.

        Raises:
            ClusterError: There is no such authority.
        """
        kind, payload = payload_type(command), encode_command(command)
        message = pae(kind, payload)
        signing = self._authors(required_role(command)) if authors is None else authors
        keys = [*(self._key(author) for author in signing), *also]
        return seal(kind, payload, [(key.public_key().public_bytes_raw(), key.sign(message)) for key in keys])

    def quarantine(self, uid: str, **fields: Any) -> bytes:
        """Quarantine the subject `uid`."""
        return self._enforce(Quarantine, uid, fields)

    def release(self, uid: str, **fields: Any) -> bytes:
        """End the quarantine of the subject `uid`."""
        return self._enforce(Release, uid, fields)

    def revoke(self, uid: str, **fields: Any) -> bytes:
        """Revoke the subject `uid`, for ever."""
        return self._enforce(Revoke, uid, fields)

    def add_member(self, fields: MemberFields, home: Path) -> bytes:
        """Add the node whose key lies in the directory `home`, as an observer.

        Raises:
            ClusterError: The key cannot be read.
        """
        node_key = _private_key(home / f"{fields.id}.key.pem")
        return self.seal(MemberAdd(member=fields, **self.header()), also=[node_key])

    def rotate_member(self, fields: MemberFields, home: Path) -> bytes:
        """Give a node the new key that lies in the directory `home`, under the id that it has.

        Raises:
            ClusterError: The key cannot be read.
        """
        node_key = _private_key(home / f"{fields.id}.key.pem")
        return self.seal(MemberRotate(member=fields, **self.header()), also=[node_key])

    def promote_member(self, node_id: str) -> bytes:
        """Make an observer a voter."""
        return self.seal(MemberPromote(id=node_id, **self.header()))

    def remove_member(self, node_id: str) -> bytes:
        """Remove a node."""
        return self.seal(MemberRemove(id=node_id, reason="test", **self.header()))

    def publish(self, schema: str, policies: Sequence[str], latest: Mapping[str, Any] | None) -> bytes:
        """Publish exactly these policies as the next version.

        Args:
            schema: Text of the Cedar schema.
            policies: Texts, one policy each.
            latest: The latest published version, as a node reads it; None if there is none.
        """
        kept = {} if latest is None else dict(latest["policies"])
        command = PolicyPublish(
            version=1 if latest is None else latest["version"] + 1,
            expected="" if latest is None else latest["digest"],
            schema=schema,
            policies=tuple(text for text in policies if text not in kept.values()),
            removed=tuple(sorted(name for name, text in kept.items() if text not in policies)),
            **self.header(),
        )
        return self.seal(command)

    def activate(self, version: int, digest: str) -> bytes:
        """Let a published version decide."""
        return self.seal(PolicyActivate(version=version, digest=digest, **self.header()))

    def _enforce(self, kind: type[EnforcementCommand], uid: str, fields: Mapping[str, Any]) -> bytes:
        given: dict[str, Any] = {"reason": "test", **self.header(), **fields}
        command: Any = kind(kind=TargetKind.SUBJECT, id=uid, **given)
        return self.seal(command)

    def _authors(self, role: Role) -> list[str]:
        holders = [authority.id for authority in self._genesis.authorities if role in authority.roles]
        return holders[: self._genesis.thresholds[role.value]]

    def _key(self, author: str) -> Ed25519PrivateKey:
        if author not in self.keys:
            raise ClusterError(f"there is no authority `{author}`; choose from {', '.join(self.keys)}")
        return self.keys[author]


def _private_key(path: Path) -> Ed25519PrivateKey:
    key = load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ClusterError(f"`{path}` holds no Ed25519 key")
    return key
