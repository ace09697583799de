"""Which known keys signed."""

from __future__ import annotations

import pytest

from govraft.core.crypto.keys import key_id
from govraft.core.crypto.threshold import KEY_DUPLICATE, verified_keys
from govraft.errors import SignatureError
from govraft.testing.sample import seeded_key

KEYS = [seeded_key(name) for name in "abc"]
PUBLIC = [key.public_key().public_bytes_raw() for key in KEYS]
KNOWN = {key_id(public): public for public in PUBLIC[:2]}
SIGNED = [(key_id(public), key.sign(b"m")) for key, public in zip(KEYS, PUBLIC, strict=True)]


def test_known_keys_count_and_unknown_ones_do_not() -> None:
    assert verified_keys(b"m", SIGNED, KNOWN) == [key_id(PUBLIC[0]), key_id(PUBLIC[1])]
    assert verified_keys(b"m", [SIGNED[2]], KNOWN) == []
    assert verified_keys(b"m", [("junk", b""), SIGNED[1]], KNOWN) == [key_id(PUBLIC[1])]
    assert verified_keys(b"m", [], KNOWN) == []


def test_one_key_counts_once() -> None:
    for signatures in ([SIGNED[0], SIGNED[0]], [SIGNED[0], (SIGNED[0][0], b"")], [("junk", b"1"), ("junk", b"2")]):
        with pytest.raises(SignatureError) as caught:
            verified_keys(b"m", signatures, KNOWN)
        assert caught.value.code == KEY_DUPLICATE
    # One key under two names.
    alias = {**KNOWN, "alias": PUBLIC[0]}
    with pytest.raises(SignatureError) as caught:
        verified_keys(b"m", [SIGNED[0], ("alias", SIGNED[0][1])], alias)
    assert caught.value.code == KEY_DUPLICATE


def test_known_bad_refuses_all() -> None:
    for bad in (KEYS[1].sign(b"other"), b"", SIGNED[0][1]):
        with pytest.raises(SignatureError) as caught:
            verified_keys(b"m", [SIGNED[0], (key_id(PUBLIC[1]), bad)], KNOWN)
        assert caught.value.code == "signature_invalid"
