"""Bring signed envelopes to a node, see them take effect, and keep the receipt."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from govraft.api.wire import Receipt, Wait
from govraft.cli.nodes import choose_client, choose_target, read_genesis, read_links
from govraft.cli.output import Table, emit, fields_table, note, progress, write_data
from govraft.cli.settings import Settings, Target
from govraft.cli.signing import Author
from govraft.client.client import Client
from govraft.core.codec.envelope import decode_envelope
from govraft.core.evidence.receipt import encode_receipt_file
from govraft.core.model.commands import Command
from govraft.core.model.genesis import Genesis
from govraft.errors import AvailabilityError, GovraftError, InputError, RejectedError

__all__ = ["Submitter", "emit_receipt", "encode_receipt", "receipt_fields"]

_PAUSE_S = 0.1
_SAID_BY_THE_LEADER = ("member_not_synced", "rules_not_known", "voters_silent")
"""No other node would say anything else."""


class Submitter:
    """Signs and submits for one invocation of a command."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.genesis: Genesis = read_genesis(settings)
        self.author = Author(settings, self.genesis)
        self.unchanged: list[str] = []
        """Targets that the last command listed and left as they were; the receipt file proves no such thing."""

    def run(self, commands: Sequence[Command], label: str = "submitting") -> dict[str, Any] | None:
        """Sign all, then submit one after the other: all are signed before the first one changes anything.

        Returns:
            The last one's receipt, as a receipt file has it; None after a dry run.

        Raises:
            GovraftError: One failed. Those before it stand.
        """
        return self.submit_all([self.author.sign(command) for command in commands], label)

    def submit_all(self, envelopes: Sequence[bytes], label: str = "submitting") -> dict[str, Any] | None:
        """As `run`, for envelopes that are signed already."""
        if not envelopes:
            raise InputError("there is nothing to submit")
        if self.settings.dry_run:
            self._print(envelopes)
            return None
        self._check_receipt_path()
        receipt: Receipt | None = None
        with progress(label, len(envelopes)) as advance:
            for envelope in envelopes:
                is_last = envelope is envelopes[-1]
                # Certificates only ever cover more: the last one's also proves those before it.
                wait: Wait = self.settings.wait if is_last or self.settings.wait == "none" else "committed"
                receipt = self._submit(envelope, wait)
                advance()
        if receipt is None:
            raise InputError("there is nothing to submit")
        self.unchanged = receipt.unchanged or []
        with _saying_what_became(receipt.outcome, receipt.seq, receipt.certified_seq):
            kept = encode_receipt(self.settings, receipt, envelopes[-1], self.genesis)
            self._keep(kept)
        return kept

    def _submit(self, envelope: bytes, wait: Wait) -> Receipt:
        """Submit until it is known what became of it: the same envelope takes effect once, however often it is sent.

        A node that is cut off, or cannot tell, is passed over for the next one. What is told in the end is the least
        definite of all answers, unless it comes from the log.
        """
        deadline = time.monotonic() + self.settings.timeout_s
        self.settings.submitted.append(envelope)
        retry, passed = False, set[Target]()
        while True:
            left = max(0.05, deadline - time.monotonic())
            target = None
            try:
                target = choose_target(self.settings, able=True, passed=passed)
                with Client(target.endpoint, timeout=self.settings.timeout_s) as client:
                    at_least = self.settings.at_least
                    return client.submit(envelope, wait=wait, timeout=left, retry=retry, at_least=at_least)
            except (AvailabilityError, RejectedError) as error:
                is_over = time.monotonic() + _PAUSE_S >= deadline
                has_elsewhere = len(self.settings.targets()) > 1 and error.code not in _SAID_BY_THE_LEADER
                if error.definite and (isinstance(error, RejectedError) or is_over or not has_elsewhere):
                    raise
                # SAFETY: from now on only the log's word is definite: an earlier try may be in it already
                # (test_nodes.py::test_one_unknown_answer_makes_all_unknown).
                retry = retry or not error.definite
                if is_over:
                    raise _unknown(error) from error
            # Each is asked before any is asked again.
            passed = set() if target is None or target in passed else passed | {target}
            time.sleep(_PAUSE_S)

    def _print(self, envelopes: Sequence[bytes]) -> None:
        for envelope in envelopes:
            opened = decode_envelope(envelope)
            signers = ", ".join(self.author.holder(part.key_id) for part in opened.signatures) or "nobody"
            note(f"dry run: {opened.payload_type}, {len(envelope)} bytes, signed by {signers}; not submitted")
            write_data(envelope.decode() + "\n")

    def _check_receipt_path(self) -> None:
        """Find a mistaken path before anything is submitted, not after it."""
        path = self.settings.receipt
        if path is None:
            return
        if not path.parent.is_dir():
            reason = f"`{path.parent}` is no directory"
        elif not os.access(path if path.exists() else path.parent, os.W_OK):
            reason = "permission denied"
        else:
            return
        message = f"the receipt cannot be kept in `{path}`: {reason}; nothing was submitted"
        raise InputError(message, code="file_unwritable")

    def _keep(self, receipt: dict[str, Any]) -> None:
        path = self.settings.receipt
        if path is None:
            return
        try:
            path.write_text(json.dumps(receipt, indent=2) + "\n")
        except OSError as error:
            message = f"its receipt cannot be kept in `{path}`: {error.strerror}"
            raise GovraftError(message, code="receipt_not_kept") from error


@contextmanager
def _saying_what_became(outcome: str, seq: int, certified_seq: int) -> Iterator[None]:
    """Whatever fails after the command was taken, say first what became of it."""
    try:
        yield
    except GovraftError as error:
        became = f"the command was {outcome} at seq {seq}" if seq else "the command was handed in"
        state = "" if not seq else " and is in force" if seq <= certified_seq else " and is not certified yet"
        raise GovraftError(f"{became}{state}, but {error}", code=error.code) from error


def _unknown(error: AvailabilityError | RejectedError) -> GovraftError:
    """What is told when the time is over and some try may still take effect."""
    if isinstance(error, AvailabilityError):
        return error
    message = f"an earlier try may still take effect; the last one was rejected: {error}"
    return AvailabilityError(message, code="outcome_unknown", definite=False)


def encode_receipt(settings: Settings, receipt: Receipt, envelope: bytes, genesis: Genesis) -> dict[str, Any]:
    """The object of a receipt file, with all that its proof needs.

    Args:
        settings: Name the nodes to ask for changes of the electorate.
        receipt: As the node answered.
        envelope: Exact bytes that were submitted.
        genesis: Of the cluster.
    """
    links: list[dict[str, Any]] = []
    if receipt.lease:
        with choose_client(settings) as client:
            links = read_links(client)
    return encode_receipt_file(receipt, cluster=genesis.cluster_id, envelope=envelope, links=links)


def receipt_fields(receipt: dict[str, Any]) -> list[tuple[str, object]]:
    """What people want to know of a receipt."""
    effective = 0 < receipt["seq"] <= receipt["certified_seq"]
    return [
        ("outcome", receipt["outcome"]),
        ("seq", receipt["seq"] or "unknown yet"),
        ("certified seq", receipt["certified_seq"] or "none yet"),
        ("effective", "yes" if effective else "not yet"),
        ("command id", receipt["command_id"]),
    ]


def emit_receipt(
    settings: Settings,
    receipt: dict[str, Any] | None,
    more: dict[str, Any] | None = None,
    *,
    render: Callable[[list[tuple[str, object]]], Table] = fields_table,
) -> None:
    """Print a receipt, and what the command itself has to say. Nothing after a dry run."""
    if receipt is None:
        return
    extra = more or {}
    data = {**extra, "receipt": receipt} if extra else receipt
    shown = [(name.replace("_", " "), value) for name, value in extra.items()]
    with _saying_what_became(receipt["outcome"], receipt["seq"], receipt["certified_seq"]):
        emit(settings.output, data, render([*shown, *receipt_fields(receipt)]))
