"""Who cosigned, as far as the genesis can tell."""

import msgspec

from govraft.core.codec.note import NoteSignature, format_note, parse_note
from govraft.core.convergence.certificate import key_name
from govraft.core.evidence.certificate import prove_checkpoint


def test_a_line_of_an_unknown_key_adds_no_cosigner(history) -> None:
    genesis, machine = history.sample.genesis, history.machine
    certificate = history.certify(machine.seq, machine.root)
    honest = prove_checkpoint(certificate, genesis)
    absent = next(member.id for member in genesis.members if member.id not in honest.cosigners)
    note = parse_note(certificate)
    forged = NoteSignature(key_name(genesis.origin, absent), b"\x01\x02\x03\x04", 1, bytes(64))
    spoiled = format_note(msgspec.structs.replace(note, signatures=(*note.signatures, forged)))
    assert prove_checkpoint(spoiled, genesis) == honest
