"""Many commands in a short time: a long lineage is made of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from govraft.client.async_client import AsyncClient
from govraft.errors import AvailabilityError
from govraft.testing.local_cluster import LocalCluster

__all__ = ["submit_many"]

_SUBMITTERS = 192
_TIMEOUT_S = 30.0
_RETRY_S = 0.05
_MARKS_OF_THREE = 2


def submit_many(cluster: LocalCluster, count: int, progress: Callable[[float], None]) -> float:
    """Hand in `count` commands at all nodes until each is effective; seconds that it took.

    Two of three quarantine an agent, the third releases the last of them: a third of all leave a mark in the state.

    Raises:
        GovraftError: One of them is refused.
    """
    return asyncio.run(_submit(cluster, count, progress))


async def _submit(cluster: LocalCluster, count: int, progress: Callable[[float], None]) -> float:
    clients = [AsyncClient(node.endpoint, timeout=_TIMEOUT_S) for node in cluster.nodes.values()]
    submitters = min(_SUBMITTERS, count)
    shares = [count // submitters + (place < count % submitters) for place in range(submitters)]
    done = 0

    async def submitter(place: int) -> None:
        nonlocal done
        for number in range(shares[place]):
            kept, step = divmod(number, _MARKS_OF_THREE + 1)
            agent = f'Agent::"many-{place}-{kept}-{min(step, 1)}"'
            release = step == _MARKS_OF_THREE
            envelope = cluster.commands.release(agent) if release else cluster.commands.quarantine(agent)
            await _until_effective(clients, place, envelope)
            done += 1
            if done % 500 == 0:
                progress(done / count)

    began = time.monotonic()
    try:
        async with asyncio.TaskGroup() as tasks:
            for place in range(submitters):
                tasks.create_task(submitter(place))
        return time.monotonic() - began
    finally:
        for client in clients:
            await client.close()


async def _until_effective(clients: Sequence[AsyncClient], place: int, envelope: bytes) -> None:
    tried = False
    while True:
        try:
            await clients[place % len(clients)].submit(envelope, timeout=_TIMEOUT_S, retry=tried)
        except AvailabilityError:
            tried, place = True, place + 1
            await asyncio.sleep(_RETRY_S)
        else:
            return
