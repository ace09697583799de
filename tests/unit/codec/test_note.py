import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from govraft.core.codec.note import (
    NOTE_BYTES_MAX,
    Checkpoint,
    Note,
    NoteSignature,
    cosignature_key_id,
    cosigned_message,
    format_note,
    parse_note,
)
from govraft.errors import DecodeError

CHECKPOINT = Checkpoint("govraft.dev/x", 12, bytes(range(32)))
SIGNATURE = NoteSignature("govraft.dev/x/a", b"\1\2\3\4", 1_700_000_000, bytes(64))
TEXT = format_note(Note(CHECKPOINT.encode(), (SIGNATURE,)))


def line(name: str, blob: bytes) -> str:
    return f"— {name} {base64.b64encode(blob).decode()}\n"


def note(*lines: str) -> bytes:
    return CHECKPOINT.encode() + b"\n" + "".join(lines).encode()


@given(
    origin=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40),
    seq=st.integers(0, 10**18 - 1),
    root=st.binary(min_size=32, max_size=32),
    lines=st.lists(
        st.tuples(st.binary(min_size=4, max_size=4), st.integers(0, 2**63 - 1), st.binary(min_size=64, max_size=64)),
        min_size=1,
        max_size=5,
    ),
)
@settings(max_examples=100, deadline=None)
def test_what_is_printed_is_read_back(origin, seq, root, lines):
    checkpoint = Checkpoint(origin, seq, root)
    assert Checkpoint.decode(checkpoint.encode()) == checkpoint
    signed = Note(checkpoint.encode(), tuple(NoteSignature("k", *item) for item in lines))
    assert parse_note(format_note(signed)) == signed


@pytest.mark.parametrize(
    "body",
    [
        "",
        "x\n12\n",
        "x\n12\n{root}",
        "x\n12\n{root}\nextension\n",
        "x\n12\n{root}\n\n",
        "\n12\n{root}\n",
        "x\n012\n{root}\n",
        "x\n-1\n{root}\n",
        "x\n+1\n{root}\n",
        "x\n1_2\n{root}\n",
        "x\n١\n{root}\n",
        "x\n9999999999999999999\n{root}\n",
        "x\n12\n{root}=\n",
        "x\n12\nAAAA\n",
        "x\n12\n{loose}\n",
        "x\n12\n {root}\n",
        "x\t\n12\n{root}\n",
        "x\r\n12\r\n{root}\r\n",
    ],
)
def test_a_checkpoint_has_one_spelling(body):
    root = base64.b64encode(bytes(32)).decode()
    loose = root[:-2] + "B="
    with pytest.raises(DecodeError):
        Checkpoint.decode(body.format(root=root, loose=loose).encode())
    Checkpoint.decode(f"x\n12\n{root}\n".encode())


@pytest.mark.parametrize(
    "text",
    [
        b"",
        TEXT[:-1],
        TEXT.replace(b"\n\n", b"\n"),
        CHECKPOINT.encode() + b"\n",
        TEXT + b"x",
        TEXT + b"\n",
        TEXT.replace("— ".encode(), b"- "),
        TEXT.replace("— ".encode(), "—".encode()),
        note(line("a+b", bytes(76))),
        note(line("", bytes(76))),
        note(line("a\u00a0b", bytes(76))),
        note(line("a\u2003", bytes(76))),
        note(line("a b", bytes(76))),
        note(line("a", bytes(4))),
        note("— a AAAA=AAA\n"),
        note("— a AAAAAAAAAAB=\n"),
        TEXT.replace(b"govraft", b"govr\x00ft"),
        TEXT.replace(b"govraft", b"govr\tft"),
        b"\xff" + TEXT,
        TEXT + b"x" * NOTE_BYTES_MAX,
        note(*[line("a", bytes(76))] * 65),
    ],
)
def test_what_is_no_note_is_refused(text):
    with pytest.raises(DecodeError):
        parse_note(text)


def test_at_least_sixteen_signatures_are_read():
    assert len(parse_note(note(*[line(f"k{n}", bytes(76)) for n in range(16)])).signatures) == 16


def test_the_body_ends_at_the_last_empty_line():
    parsed = parse_note(b"one\n\ntwo\n\n" + line("a", bytes(76)).encode())
    assert parsed.body == b"one\n\ntwo\n"


@pytest.mark.parametrize("blob", [bytes(5), bytes(68), bytes(75), bytes(77), bytes(4) + b"\x80" + bytes(71)])
def test_a_line_of_another_kind_is_kept_apart(blob):
    parsed = parse_note(note(line("other", b"\1\2\3\4" + blob[4:]), line("a", bytes(76))))
    assert [item.name for item in parsed.signatures] == ["a"]
    assert parsed.others == (("other", b"\1\2\3\4"),)


def test_key_ids_and_messages_differ_in_all_that_they_cover():
    key = bytes(32)
    ids = {cosignature_key_id("a", key), cosignature_key_id("b", key), cosignature_key_id("a", bytes(31) + b"\1")}
    assert len(ids) == 3
    assert all(len(item) == 4 for item in ids)
    assert cosigned_message(b"body\n", 5) == b"cosignature/v1\ntime 5\nbody\n"


@given(st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_refused_or_read(data):
    for text in (data, TEXT[:40] + data, TEXT + data):
        try:
            parsed = parse_note(text)
        except DecodeError:
            continue
        assert text.startswith(parsed.body)


def test_a_note_has_a_greatest_length_and_a_greatest_number_of_lines():
    signature = line("a", bytes(76))
    rest = len(signature.encode()) + 2
    assert parse_note(b"x" * (NOTE_BYTES_MAX - rest) + b"\n\n" + signature.encode()).signatures
    with pytest.raises(DecodeError, match="at most"):
        parse_note(b"x" * (NOTE_BYTES_MAX - rest + 1) + b"\n\n" + signature.encode())
    assert len(parse_note(note(*[signature] * 64)).signatures) == 64


def test_the_latest_time_that_can_be_signed_is_read():
    blob = bytes(4) + b"\x7f" + b"\xff" * 7 + bytes(64)
    assert parse_note(note(line("a", blob))).signatures[0].time_s == 2**63 - 1


def test_a_note_with_an_empty_text_is_read():
    assert parse_note(b"\n\n" + line("a", bytes(76)).encode()).body == b"\n"
