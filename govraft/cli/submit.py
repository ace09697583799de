"""`govraft submit`: envelopes that were signed elsewhere."""

from __future__ import annotations

from pathlib import Path

import click

from govraft.cli.input_files import read_text
from govraft.cli.output import note
from govraft.cli.settings import Settings, SigningCommand
from govraft.cli.submission import Submitter, emit_receipt
from govraft.core.codec.envelope import decode_envelope
from govraft.errors import DecodeError, InputError

__all__ = ["submit"]


@click.command(cls=SigningCommand)
@click.argument("file", type=click.Path(path_type=Path), metavar="ENVELOPE.json")
@click.pass_obj
def submit(settings: Settings, file: Path) -> None:
    """Submit signed envelopes, one a line, as `--dry-run` prints them; `-` reads stdin.

    With `--key`, the key's signature is added first; with `--dry-run` too, the result is printed instead of
    submitted. So a threshold can be collected from people who never share a machine.
    """
    envelopes = _split(read_text(file))
    submitter = Submitter(settings)
    if settings.keys:
        signed = []
        for envelope in envelopes:
            opened = decode_envelope(envelope)
            note(f"signing {opened.payload_type}: {opened.payload.decode('utf-8', 'replace')}")
            signed.append(submitter.author.add_signatures(opened))
        envelopes = signed
    emit_receipt(settings, submitter.submit_all(envelopes))


def _split(text: str) -> list[bytes]:
    """One envelope a line, or the whole text if that is one envelope, however it is laid out."""
    try:
        decode_envelope(text.strip().encode())
    except DecodeError:
        lines = [line.strip().encode() for line in text.split("\n") if line.strip()]
    else:
        return [text.strip().encode()]
    if not lines:
        raise InputError("there is no envelope in the file")
    for line in lines:
        decode_envelope(line)
    return lines
