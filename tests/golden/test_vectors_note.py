"""Malformed and hostile notes, by the classes of the reference reader's own tests; and DSSE's published example.

`tests/golden/test_c2sp.py` holds that good notes are read by others and that changed ones are refused; here is what
lies between: notes that another reader might take for something else. See vectors/README.md.
"""

from __future__ import annotations

import base64

import pytest

from govraft.core.codec.envelope import decode_envelope, pae
from govraft.core.codec.note import (
    Checkpoint,
    Note,
    NoteSignature,
    cosignature_key_id,
    cosigned_message,
    format_note,
    parse_note,
)
from govraft.core.convergence.certificate import key_name, verify_certificate
from govraft.core.crypto.keys import verify
from govraft.core.crypto.threshold import verified_keys
from govraft.errors import CertificateError, DecodeError
from govraft.testing.sample import SampleCluster, seeded_key

SAMPLE = SampleCluster()
ORIGIN = SAMPLE.genesis.origin
BODY = Checkpoint(ORIGIN, 9, bytes(range(32))).encode()


def line(
    node: str, *, body: bytes = BODY, time_s: int = 7, signer: str | None = None, name: str | None = None
) -> bytes:
    key, name = SAMPLE.node_keys[signer or node], name or key_name(ORIGIN, node)
    key_id = cosignature_key_id(name, SAMPLE.node_keys[node].public_key().public_bytes_raw())
    item = NoteSignature(name, key_id, time_s, key.sign(cosigned_message(body, time_s)))
    return format_note(Note(b"", (item,)))[1:]


def proves(*lines: bytes, body: bytes = BODY) -> bool:
    text = body + b"\n" + b"".join(lines)
    try:
        return verify_certificate(text, SAMPLE.genesis.electorate(), ORIGIN, is_valid=verify).seq == 9
    except CertificateError:
        return False


ONE, TWO, THREE = line("n1"), line("n2"), line("n3")
STRANGER = "— stranger.example AAAAAAAAAAAAAAAA\n".encode()


def resigned(text: bytes, change) -> bytes:
    head, _, blob = text.rstrip(b"\n").rpartition(b" ")
    return head + b" " + base64.b64encode(change(base64.b64decode(blob))) + b"\n"


def test_a_quorum_in_any_order_and_company():
    for lines in [(ONE, TWO), (TWO, ONE), (THREE, ONE, TWO), (ONE, STRANGER, TWO), (STRANGER, STRANGER, ONE, THREE)]:
        assert proves(*lines)


@pytest.mark.parametrize(
    "lines",
    [
        (ONE,),
        (ONE, ONE),
        (ONE, ONE, ONE, STRANGER),
        (ONE, line("n1", time_s=8), line("n1", time_s=9)),
        (ONE, STRANGER),
        (ONE, line("n2", name=f"{ORIGIN}/n2x")),
        (ONE, line("n2", name=key_name("govraft.dev/other", "n2"))),
        (ONE, line("n2", name=key_name(ORIGIN, "n1"))),
        (ONE, line("n2", name="n2")),
        (ONE, resigned(TWO, lambda blob: bytes(4) + blob[4:])),
    ],
)
def test_lines_that_do_not_count(lines):
    """Unknown names and key ids, and one key under many lines: no error, and no vote."""
    assert not proves(*lines)
    assert parse_note(BODY + b"\n" + b"".join(lines))
    assert proves(*lines, TWO, THREE)


@pytest.mark.parametrize(
    "bad",
    [
        line("n3", signer="n1"),
        line("n3", body=BODY + b"x\n"),
        line("n3", body=BODY[:-1]),
        resigned(THREE, lambda blob: blob[:-1]),
        resigned(THREE, lambda blob: blob + b"\0"),
        resigned(THREE, lambda blob: blob[:60] + b"ABCD" + blob[60:]),
        resigned(THREE, lambda blob: blob[:4] + blob[12:]),
        resigned(THREE, lambda blob: blob[:5]),
        resigned(THREE, lambda blob: blob[:4] + b"\xff" * 8 + blob[12:]),
        resigned(THREE, lambda blob: blob[:11] + bytes([blob[11] ^ 1]) + blob[12:]),
        resigned(THREE, lambda blob: blob[:12] + bytes(64)),
    ],
)
def test_a_bad_line_of_a_known_key_spoils_the_note(bad):
    """Although two good ones are there: counting around it would hide corruption or forgery."""
    assert proves(ONE, TWO)
    for lines in [(ONE, TWO, bad), (bad, ONE, TWO), (ONE, TWO, THREE, bad)]:
        assert not proves(*lines)


def test_what_the_reference_reader_calls_malformed():
    good = BODY + b"\n" + ONE + TWO
    malformed = [
        BODY,
        BODY + b"\n",
        b"\n" + ONE,
        good[:-1],
        b"\x01" + good,
        b"\xff" + good,
        good.replace(b"govraft.dev", b"govraft\x7f.dev\x00", 1),
        good + b"Unexpected line.\n",
        good + b"\n",
        good.replace(b"\n\n", b"\n \n", 1),
        good.replace(b"\n", b"\r\n"),
        good.replace(b"/n1 ", b"/n 1 ", 1),
        good.replace(b"/n1 ", b"/n+1 ", 1),
        good.replace(b"/n1 ", b"/n1  ", 1),
        good.replace(b"/n1 ", b"/n1\t", 1),
        good.replace(b"/n1 ", "/n1\u00a0 ".encode(), 1),
        good.replace("— ".encode(), b"-- ", 1),
        good.replace("— ".encode(), "– ".encode(), 1),
        good.replace("— ".encode(), "—\u00a0".encode(), 1),
        good.replace("— ".encode(), "  — ".encode(), 1),
        BODY + b"\n" + ONE * 65,
        BODY + b"\n" + ONE[:-2] + b"\n",
        BODY + b"\n" + ONE[:-1] + b"=\n",
        BODY + b"\n" + ONE[:-1].replace(b"/", b"_") + b"\n",
    ]
    assert parse_note(good)
    for text in malformed:
        assert text != good
        with pytest.raises((DecodeError, CertificateError)):
            parse_note(text)
            verify_certificate(text, SAMPLE.genesis.electorate(), ORIGIN, is_valid=verify)


def test_text_that_looks_like_signatures_is_text():
    """The signatures begin after the last empty line, so a forged block before it is part of what was signed."""
    text = BODY + b"\n" + ONE + TWO + b"\n" + STRANGER
    assert parse_note(text).body == BODY + b"\n" + ONE + TWO
    assert not proves(ONE, TWO, b"\n", STRANGER)


@pytest.mark.parametrize(
    "size", ["09", "+9", "-9", " 9", "9 ", "0x9", "9.0", "9e0", "９", "", "18446744073709551616", "9" * 5000]
)
def test_a_size_has_one_spelling(size):
    body = BODY.replace(b"\n9\n", f"\n{size}\n".encode(), 1)
    with pytest.raises(DecodeError):
        Checkpoint.decode(body)
    assert not proves(line("n1", body=body), line("n2", body=body), body=body)


def test_the_published_dsse_example():
    """protocol.md's vector is signed with ECDSA: its bytes are read, and its signature proves nothing to Ed25519."""
    signature = "Cc3RkvYsLhlaFVd+d6FPx4ZClhqW4ZT0rnCYAfv6/ckoGdwT7g/blWNpOBuL/tZhRiVFaglOGTU8GEjm4aEaNA=="
    kind = "http://example.com/HelloWorld"
    data = f'{{"payload":"aGVsbG8gd29ybGQ=","payloadType":"{kind}","signatures":[{{"keyid":"66301bbf","sig":"{signature}"}}]}}'
    envelope = decode_envelope(data.encode())
    assert (
        envelope.signed_bytes == pae(kind, b"hello world") == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    public = seeded_key("x").public_key().public_bytes_raw()
    assert not verify(public, envelope.signatures[0].signature, envelope.signed_bytes)
    pairs = [(item.key_id, item.signature) for item in envelope.signatures]
    assert verified_keys(envelope.signed_bytes, pairs, {"other": public}) == []


def test_the_encoding_that_is_signed_is_injective():
    """Lengths are part of it: bytes cannot move between type and payload, nor can one sign a prefix of the other."""
    parts = [
        ("a", b"b"),
        ("", b"ab"),
        ("ab", b""),
        ("a 1 b", b""),
        ("a", b" 1 b"),
        ("é", b""),
        ("e\u0301", b""),
        ("a", b"b 0 "),
    ]
    assert len({pae(*part) for part in parts}) == len(parts)
