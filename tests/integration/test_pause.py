"""A node that stood still while the world went on must not answer from the past."""

from __future__ import annotations

import pytest
from integration.cluster_harness import ACTION, TOOL, Cluster, eventually

from govraft.client.connection import Connection, deadline_in
from govraft.client.questions import ask_check

pytestmark = pytest.mark.cluster

ASKED = 40


@pytest.mark.clause("1 synchronized execution authority")
@pytest.mark.parametrize("role", ["follower", "leader"])
def test_the_first_answers_after_a_pause_deny(cluster: Cluster, role: str) -> None:
    leader = cluster.leader()
    paused = leader if role == "leader" else cluster.others(leader)[0]
    helper = cluster.others(paused)[0]
    revoked, innocent = f"paused-{role}", f"innocent-{role}"
    assert paused.check(revoked) and paused.check(innocent)

    connection = Connection(str(paused.socket), deadline_in(10))
    try:
        paused.process.pause()
        # Effective only once every lease on the older state is over, that of the paused node included.
        receipt = eventually(lambda: helper.client.submit(cluster.revoke(revoked)), cluster.describe)
        # What waits in its socket is read before anything can tell it how the world has changed.
        questions = [
            (agent, ask_check(f'Agent::"{agent}"', ACTION, TOOL, None, at_least=0, explain=False))
            for agent in [innocent, revoked] * (ASKED // 2)
        ]
        calls = [(agent, question, connection.send(question, deadline_in(10))) for agent, question in questions]
        paused.process.resume()
        answers = [
            (agent, question.judge(connection.receive(deadline_in(10)), call_id)) for agent, question, call_id in calls
        ]
    finally:
        paused.process.resume()
        connection.close()

    assert not answers[0][1], "the first answer is an allow on a lease that is over"
    for agent, verdict in answers:
        assert not (agent == revoked and verdict), "a stale allow"
        # Whoever allows again does so on the new state.
        assert not verdict or verdict.seq >= receipt.certified_seq
    cluster.wait_allow()
    assert paused.check(innocent, at_least=receipt.certified_seq)
    assert paused.check(revoked, at_least=receipt.certified_seq).reason == "revoked"
    cluster.verified_lineage()
