"""What the client says of a command, and what it asks."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from govraft.api.wire import decode_call
from govraft.client.async_client import AsyncClient
from govraft.client.client import Client
from govraft.client.questions import ask_submit, count_tries
from govraft.errors import AvailabilityError, GovraftError, InputError, RejectedError


@pytest.mark.parametrize("retry", [False, True])
@pytest.mark.parametrize("is_async", [False, True])
def test_one_unknown_outcome_makes_all_unknown(tmp_path: Path, is_async: bool, retry: bool) -> None:
    """Nobody answers: this try did nothing; an earlier one may have."""
    endpoint = f"unix://{tmp_path}/nobody"
    with pytest.raises(AvailabilityError) as caught:
        if is_async:
            asyncio.run(AsyncClient(endpoint).submit(b"{}", retry=retry))
        else:
            Client(endpoint).submit(b"{}", retry=retry)
    assert caught.value.definite is not retry


def test_a_call_without_a_seq_is_what_older_nodes_know() -> None:
    older = msgspec.msgpack.decode(ask_submit(b"{}", wait="none", timeout_s=1, retry=False).call(7))
    assert sorted(older) == ["envelope", "id", "op", "retry", "timeout_ms", "wait"]
    newer = decode_call(ask_submit(b"{}", wait="none", timeout_s=1, retry=False, at_least=5).call(7))
    assert newer.at_least == 5
    assert decode_call(msgspec.msgpack.encode(older)).at_least == 0


@pytest.mark.parametrize("at_least", [-1, 1 << 63, True, "5", None])
def test_a_senseless_seq_is_not_asked(at_least: object) -> None:
    with pytest.raises(InputError):
        ask_submit(b"{}", wait="none", timeout_s=1, retry=False, at_least=at_least)


def test_a_rejection_by_the_log_stays_definite() -> None:
    told: list[GovraftError] = [RejectedError("rejected at seq 3", code="expired"), AvailabilityError("no way")]
    for error in told:
        count_tries(error, retry=True)
    assert [error.definite for error in told] == [True, False]
