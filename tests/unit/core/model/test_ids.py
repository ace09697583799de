"""Entity uids: one canonical spelling, understood by Cedar."""

from __future__ import annotations

import json

import cedarpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from govraft.core.model.ids import EntityUid, canonical_uid, is_action_type, parse_uid
from govraft.core.model.limits import ENTITY_UID_CHARS
from govraft.errors import DecodeError


@pytest.mark.parametrize(
    ("text", "type_name", "identifier"),
    [
        ('Agent::"ci-bot"', "Agent", "ci-bot"),
        ('A::B::C_1::"x"', "A::B::C_1", "x"),
        ('A::""', "A", ""),
        (r'A::"a\"b\\c"', "A", 'a"b\\c'),
        (r'A::"\n\r\t\0\'"', "A", "\n\r\t\0'"),
        (r'A::"\x41\u{1F600}\u{00_e9}"', "A", "A\U0001f600é"),
        ('A::"line\nbreak"', "A", "line\nbreak"),
        ("A::\"B::'c'\"", "A", "B::'c'"),
    ],
)
def test_spellings(text: str, type_name: str, identifier: str) -> None:
    assert parse_uid(text) == EntityUid(type_name, identifier)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A",
        '"x"',
        '::"x"',
        'A:"x"',
        'A::"x',
        'A::x"',
        'A::"x"y',
        'A::"x" ',
        ' A::"x"',
        'A :: "x"',
        'A::"x"\n',
        'A::"a"b"',
        'A::"\\"',
        r'A::"\q"',
        r'A::"\x80"',
        r'A::"\u{}"',
        r'A::"\u{110000}"',
        r'A::"\u{d800}"',
        r'A::"\u{1234567}"',
        'A::"\ud800"',
        '1A::"x"',
        'A-B::"x"',
        'É::"x"',
        'A::in::"x"',
        'true::"x"',
        '__cedar::"x"',
    ],
)
def test_malformed_uids_are_refused(text: str) -> None:
    with pytest.raises(DecodeError):
        parse_uid(text)


def test_one_canonical_spelling() -> None:
    spellings = ['A::"é\'\\n"', 'A::"\\u{e9}\\\'\\u{a}"', 'A::"\\u{0_0e9}\'\n"']
    assert {canonical_uid(text) for text in spellings} == {'A::"é\'\\n"'}
    assert str(EntityUid("A", "\x1b\u202e\u00a0")) == 'A::"\\u{1b}\\u{202e}\u00a0"'


IDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(IDS)
@settings(max_examples=150)
def test_the_canonical_spelling_is_a_fixed_point(identifier: str) -> None:
    uid = EntityUid("A::B", identifier)
    assert parse_uid(str(uid)) == uid
    assert canonical_uid(str(uid)) == str(uid)


@given(IDS)
@settings(max_examples=60)
def test_cedar_reads_the_same(identifier: str) -> None:
    uid = EntityUid("A", identifier)
    parsed = json.loads(cedarpy.policies_to_json_str(f"permit(principal == {uid}, action, resource);"))
    (policy,) = parsed["staticPolicies"].values()
    assert policy["principal"]["entity"] == {"type": "A", "id": identifier}


def test_limit() -> None:
    longest = 'A::"' + "x" * (ENTITY_UID_CHARS - 5) + '"'
    assert len(str(parse_uid(longest))) == ENTITY_UID_CHARS
    with pytest.raises(DecodeError):
        parse_uid(longest[:-1] + 'x"')
    # Shorter than the limit as written, longer in canonical form.
    with pytest.raises(DecodeError):
        parse_uid('A::"' + "\n" * 400 + '"')


def test_action_types() -> None:
    assert is_action_type("Action")
    assert is_action_type("Fleet::Action")
    assert not is_action_type("Actions")
    assert not is_action_type("Action::Kind")
