"""From an intent to signed envelopes: the command's header, the right keys, enough of them."""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Callable
from typing import Any

import click

from govraft.adapters.authority_key import AuthorityKey, AuthorityKeyError, load_authority_key
from govraft.cli.settings import Settings
from govraft.core.codec.envelope import Envelope, EnvelopeSignature, encode_envelope, seal
from govraft.core.codec.envelope import pae as signed_message
from govraft.core.crypto.keys import key_id
from govraft.core.model.authority import Authority, Role
from govraft.core.model.commands import (
    Command,
    command_name,
    decode_command,
    encode_command,
    payload_type,
    required_role,
)
from govraft.core.model.genesis import Genesis
from govraft.errors import InputError

__all__ = ["PASSPHRASE_VARIABLE", "Author"]

PASSPHRASE_VARIABLE = "GOVRAFT_KEY_PASSPHRASE"  # noqa: S105 - the variable's name

_MINUTE_MS = 60_000


class Author:
    """Signs commands for one cluster with the keys at hand."""

    def __init__(self, settings: Settings, genesis: Genesis) -> None:
        """Nothing is opened before the first signature is needed."""
        self._settings = settings
        self._genesis = genesis
        self._authorities = {authority.public_key: authority for authority in genesis.authorities}
        self._by_id = {authority.id: authority for authority in genesis.authorities}
        self._opened: dict[str, AuthorityKey] = {}
        self._command_id = settings.command_id or secrets.token_hex(16)
        self._count = 0

    def header(self) -> dict[str, Any]:
        """Header fields for the next command. Of several, the second is `<id>.2`, and so on."""
        self._count += 1
        return {
            "cluster": self._genesis.cluster_id,
            "command_id": self._command_id if self._count == 1 else f"{self._command_id}.{self._count}",
            "not_after": time.time_ns() // 1_000_000 + self._settings.valid_minutes * _MINUTE_MS,
        }

    def build(self, make: Callable[..., Command], **fields: Any) -> Command:
        """A command that `make` makes of these fields and the next header.

        Raises:
            InputError: The command id has a character that it cannot have.
        """
        command = make(**self.header(), **fields)
        # Decoded again, so that a mistake is found here, and not by the cluster.
        decode_command(str(command_name(payload_type(command))), encode_command(command))
        return command

    def sign(self, command: Command) -> bytes:
        """The envelope of a command, signed by a threshold of its role, or by the keys that were given.

        Raises:
            InputError: Too few keys, or one that cannot be used. A dry run may sign with too few.
        """
        kind, payload = payload_type(command), encode_command(command)
        message = signed_message(kind, payload)
        keys = self._keys_for(required_role(command))
        return seal(kind, payload, [(key.public_key, key.sign(message)) for key in keys])

    def add_signatures(self, envelope: Envelope) -> bytes:
        """An envelope with the signatures of the given keys added; those that it has already stay."""
        parts = list(envelope.signatures)
        present = {part.key_id for part in parts}
        for text in self._settings.keys:
            key = self._open(text)
            if key_id(key.public_key) not in present:
                parts.append(EnvelopeSignature(key_id(key.public_key), key.sign(envelope.signed_bytes)))
                present.add(key_id(key.public_key))
        return encode_envelope(Envelope(envelope.payload_type, envelope.payload, tuple(parts)))

    def holder(self, key: str) -> str:
        """Who holds the key of that id, for people."""
        found = next((a.id for a in self._genesis.authorities if key_id(a.public_key) == key), None)
        return found or f"unknown key {key[:12]}"

    def _keys_for(self, role: Role) -> list[AuthorityKey]:
        needed = self._genesis.thresholds.get(role.value, 1)
        index = self._settings.cluster_index()
        if self._settings.keys:
            wanted = list(self._settings.keys)
        elif index is not None:
            wanted = [key.id for key in index.keys if role.value in key.roles][:needed]
        else:
            raise InputError(f"needs {needed} `{role.value}` keys: give `--key URI` for each, or `--cluster DIR`")
        keys = {key.public_key: key for key in map(self._open, wanted)}
        holders = [key for key in keys.values() if role in self._authority(key).roles]
        if len(holders) < needed and not self._settings.dry_run:
            message = (
                f"{len(holders)} of {needed} `{role.value}` keys: add `--key`, or collect signatures with `--dry-run`"
            )
            raise InputError(message, code="threshold_unmet")
        return list(keys.values())

    def _authority(self, key: AuthorityKey) -> Authority:
        return self._authorities[key.public_key]

    def _open(self, text: str) -> AuthorityKey:
        if text not in self._opened:
            uri, expected = self._locate(text)
            key = load_authority_key(uri, public_key=expected, ask_passphrase=_ask_passphrase)
            if key.public_key not in self._authorities:
                raise AuthorityKeyError(f"key `{text}` is of no authority of this cluster")
            self._opened[text] = key
        return self._opened[text]

    def _locate(self, text: str) -> tuple[str, bytes | None]:
        name, separator, uri = text.partition("=")
        if separator and name in self._by_id:
            return uri, self._by_id[name].public_key
        if separator and ":" not in name:
            raise AuthorityKeyError(f"`{name}` is no authority of this cluster")
        index = self._settings.cluster_index()
        entry = None if index is None else index.key_of(text)
        if entry is None:
            return text, None
        authority = self._by_id.get(entry.id)
        if authority is None:
            raise AuthorityKeyError(f"`{entry.id}` is no authority of this cluster")
        return entry.uri, authority.public_key


def _ask_passphrase(what: str) -> str:
    given = os.environ.get(PASSPHRASE_VARIABLE)
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise InputError(f"needs the {what}: set {PASSPHRASE_VARIABLE}", code="passphrase_missing")
    return str(click.prompt(what, hide_input=True, err=True))
