"""Domain-separated digests."""

from __future__ import annotations

import hashlib

from govraft.core.crypto.digests import DIGEST_BYTES, digest


def test_the_format_is_fixed() -> None:
    assert digest("entry", b"data") == hashlib.sha256(b"govraft/entry/v1\0data").digest()
    assert len(digest("entry", b"")) == DIGEST_BYTES


def test_domains_do_not_mix() -> None:
    assert digest("a", b"x") != digest("b", b"x")
    assert digest("a", b"/v1\0x") != digest("a/v1", b"x")
