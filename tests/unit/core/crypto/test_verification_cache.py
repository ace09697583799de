"""Only exactly what held is remembered."""

from __future__ import annotations

import pytest

from govraft.core.crypto import verification_cache
from govraft.core.crypto.verification_cache import VerificationCache

KEY, OTHER_KEY = bytes(32), bytes(31) + b"\1"
GOOD, BAD = bytes(64), bytes(63) + b"\1"


class Judge:
    """Knows one signature as good, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, key: bytes, signature: bytes, message: bytes) -> bool:
        self.asked += 1
        return (key, signature, message) == (KEY, GOOD, b"message")


@pytest.fixture
def judge() -> Judge:
    return Judge()


@pytest.fixture
def cache(judge) -> VerificationCache:
    return VerificationCache(judge)


def test_what_held_is_not_verified_again(cache, judge):
    assert cache(KEY, GOOD, b"message")
    assert cache(KEY, GOOD, b"message")
    assert judge.asked == 1


@pytest.mark.parametrize(
    "other", [(OTHER_KEY, GOOD, b"message"), (KEY, BAD, b"message"), (KEY, GOOD, b"massage"), (KEY, GOOD, b"")]
)
def test_what_held_says_nothing_about_another_key_signature_or_message(cache, other):
    assert cache(KEY, GOOD, b"message")
    assert not cache(*other)
    assert not cache(*other)


def test_what_failed_is_verified_each_time(cache, judge):
    assert not cache(KEY, BAD, b"message")
    assert not cache(KEY, BAD, b"message")
    assert judge.asked == 2


@pytest.mark.parametrize(
    ("key", "signature", "message"),
    [(KEY[:-1], GOOD, b"message"), (KEY + b"m", GOOD, b"essage"), (KEY, GOOD[:-1], b"\0message"), (b"", b"", b"")],
)
def test_no_other_lengths_share_the_bytes_of_what_held(cache, judge, key, signature, message):
    assert cache(KEY, GOOD, b"message")
    asked = judge.asked
    assert not cache(key, signature, message)
    assert judge.asked == asked


def test_what_this_process_signed_is_remembered(cache, judge):
    cache.remember(KEY, BAD, b"own")
    assert cache(KEY, BAD, b"own")
    assert judge.asked == 0


def test_the_memory_is_bounded_and_forgets_the_oldest(monkeypatch, judge):
    monkeypatch.setattr(verification_cache, "REMEMBERED_MAX", 3)
    cache = VerificationCache(judge)
    for number in range(5):
        cache.remember(KEY, GOOD, b"own %d" % number)
    assert [cache(KEY, GOOD, b"own %d" % number) for number in range(5)] == [False, False, True, True, True]
