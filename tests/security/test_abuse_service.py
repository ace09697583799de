"""Authorities that hand in more than a node can examine: few examinations at a time, the rest refused in words."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

from govraft.errors import AvailabilityError
from govraft.node.service import EXAMINATIONS, EXAMINATIONS_WAITING_MAX, NodeService


def test_few_proposals_are_examined_at_a_time() -> None:
    async def scenario() -> None:
        release, running, most = asyncio.Event(), 0, 0

        async def examine(*_: Any) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await release.wait()
            running -= 1

        runtime: Any = MagicMock()
        clock: Any = SimpleNamespace(boottime=lambda: 0)
        service = NodeService(
            runtime=runtime,
            node_id="n",
            clock=clock,
            examine=examine,
            read_leaves=examine,
            database=Path("db"),  # type: ignore[arg-type]
        )
        tasks = [asyncio.create_task(service._examine_in_turn("", {}, None)) for _ in range(EXAMINATIONS_WAITING_MAX)]
        for _ in range(5):
            await asyncio.sleep(0)
        with pytest.raises(AvailabilityError, match="too many") as refused:
            await service._examine_in_turn("", {}, None)
        assert (refused.value.code, refused.value.definite) == ("queue_full", True)
        tasks[0].cancel()
        release.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert most == EXAMINATIONS
        await service._examine_in_turn("", {}, None)

    asyncio.run(scenario())
