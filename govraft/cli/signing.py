"""From an intent to signed envelopes: the command's header, the right keys, enough of them."""

from __future__ import annotations

import base64
import os
import secrets
import sys
import time
from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from typing import Any

import click

from govraft.adapters.authority_key import AuthorityKey, AuthorityKeyError, load_authority_key
from govraft.cli.settings import Settings
from govraft.cli.signers import KnownAuthority, Signers, find_signers, known_authorities
from govraft.core.codec.envelope import Envelope, EnvelopeSignature, encode_envelope, seal
from govraft.core.codec.envelope import pae as signed_message
from govraft.core.crypto.keys import key_id
from govraft.core.model.commands import (
    Command,
    command_name,
    decode_command,
    encode_command,
    payload_type,
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

    @cached_property
    def _by_id(self) -> dict[str, KnownAuthority]:
        return known_authorities(self._settings, self._genesis)

    @cached_property
    def _by_key(self) -> dict[bytes, KnownAuthority]:
        return {item.public_key: item for item in self._by_id.values()}

    def sign(self, command: Command, *, new_keys: Sequence[AuthorityKey] = ()) -> bytes:
        """The envelope of a command, signed by those whose signatures it takes, or by the keys that were given.

        Args:
            command: What to sign.
            new_keys: Keys that the command brings in: they sign too, to prove that somebody holds them.

        Raises:
            InputError: Too few keys, or one that cannot be used. A dry run may sign with too few.
        """
        kind, payload = payload_type(command), encode_command(command)
        message = signed_message(kind, payload)
        keys = self._keys_for(find_signers(self._settings, self._genesis, command))
        every = {key.public_key: key for key in (*keys, *new_keys)}
        return seal(kind, payload, [(key.public_key, key.sign(message)) for key in every.values()])

    def sign_statement(self, kind: str, payload: bytes, draft: Command) -> bytes:
        """The envelope of a statement, signed by the first of those whose keys are at hand and who may record it.

        Args:
            kind: DSSE payload type.
            payload: Exact bytes.
            draft: The command that is to record it, complete but for the statement.

        Raises:
            InputError: No such key, or one that cannot be used.
        """
        signers = find_signers(self._settings, self._genesis, draft)
        for key in self._keys_for(signers):
            if self._by_key[key.public_key].id in signers.holders:
                return seal(kind, payload, [(key.public_key, key.sign(signed_message(kind, payload)))])
        raise InputError(f"needs a {signers.what} key to sign the statement: add `--key`", code="threshold_unmet")

    def add_signatures(self, envelope: Envelope) -> bytes:
        """An envelope with the signatures of the given keys added; those that it has already stay."""
        parts = list(envelope.signatures)
        present = {part.key_id for part in parts}
        for text in self._settings.keys:
            key = self._open(text, _named_keys(envelope))
            if key_id(key.public_key) not in present:
                parts.append(EnvelopeSignature(key_id(key.public_key), key.sign(envelope.signed_bytes)))
                present.add(key_id(key.public_key))
        return encode_envelope(Envelope(envelope.payload_type, envelope.payload, tuple(parts)))

    def holder(self, key: str) -> str:
        """Who holds the key of that id, for people."""
        found = next((item.id for item in self._by_id.values() if key_id(item.public_key) == key), None)
        return found or f"unknown key {key[:12]}"

    def only_signer(self) -> str:
        """Id of the authority whose key was given, for a command that one authority signs alone.

        Raises:
            InputError: No key was given, or several.
        """
        if len(self._settings.keys) != 1:
            raise InputError("one authority signs this alone: give exactly one `--key`", code="threshold_unmet")
        return self._by_key[self._open(self._settings.keys[0]).public_key].id

    def open_new(self, uri: str) -> AuthorityKey:
        """A key that is of nobody yet. Raises `AuthorityKeyError`."""
        return load_authority_key(uri, public_key=None, ask_passphrase=_ask_passphrase)

    def _keys_for(self, signers: Signers) -> list[AuthorityKey]:
        needed, index = signers.needed, self._settings.cluster_index()
        if self._settings.keys:
            wanted = list(self._settings.keys)
        elif index is not None:
            wanted = [key.id for key in index.keys if key.id in signers.holders][:needed]
        else:
            raise InputError(f"needs {needed} {signers.what} keys: give `--key URI` for each, or `--cluster DIR`")
        keys = {key.public_key: key for key in map(self._open, wanted)}
        ids = [self._by_key[public_key].id for public_key in keys]
        able = sum(name in signers.holders for name in ids)
        if able < needed and signers.alone not in ids and not self._settings.dry_run:
            message = f"{able} of {needed} {signers.what} keys: add `--key`, or collect signatures with `--dry-run`"
            raise InputError(message, code="threshold_unmet")
        return list(keys.values())

    def _open(self, text: str, new: Collection[bytes] = ()) -> AuthorityKey:
        if text not in self._opened:
            uri, expected = self._locate(text)
            key = load_authority_key(uri, public_key=expected, ask_passphrase=_ask_passphrase)
            if key.public_key not in self._by_key and key.public_key not in new:
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


def _named_keys(envelope: Envelope) -> list[bytes]:
    """Public keys that a command brings in: these may sign it too."""
    name = command_name(envelope.payload_type)
    if name is None:
        return []
    command = decode_command(name, envelope.payload)
    holders = (command, getattr(command, "member", None), *getattr(command, "keys", ()))
    texts = (getattr(item, "public_key", None) for item in holders)
    return [base64.b64decode(text) for text in texts if isinstance(text, str)]
