"""Protocol §8, "Stores": a voter that may have forgotten what it signed."""

from __future__ import annotations

from mutant import Mutant

__all__ = ["STORE_MUTANTS"]

_LATE = "govraft/node/late_store.py"
_TESTS = ("tests/unit/node/test_late_store.py",)
_ROUND = ("tests/unit/convergence/test_round.py",)
_VOTES = ("tests/unit/engine/test_late_votes.py",)

STORE_MUTANTS = (
    Mutant(
        "late-store-has-no-floor",
        "★ nothing is acked below the greatest seq that others named",
        _LATE,
        "        floor = max(answer.seq for answer in told.values())\n",
        "        floor = 0\n",
        _TESTS,
    ),
    Mutant(
        "late-store-counts-forgetful-answers",
        "★ an answer of a node whose own store is late rules nothing out",
        _LATE,
        "vouching, needed = sum(not answer.forgetful for answer in answers.values()), enough(electorate)",
        "vouching, needed = len(answers), enough(electorate)",
        _TESTS,
    ),
    Mutant(
        "late-store-settles-after-one-answer",
        "★ n - q + 1 other voters must have answered",
        _LATE,
        "    return voters - electorate.quorum_count + 1 + liars\n",
        "    return 1\n",
        _TESTS,
    ),
    Mutant(
        "late-store-ignores-named-roots",
        "★ nothing is acked while the own lineage lacks a root that others named",
        _LATE,
        "        if self.contradicted_by:\n",
        "        if self.contradicted_by and not told:\n",
        _TESTS,
    ),
    Mutant(
        "late-store-believes-old-answers",
        "★ answers to an earlier life say nothing to this one",
        _LATE,
        "        if answer.nonce != self._nonce:\n            return None\n",
        "",
        _TESTS,
    ),
    Mutant(
        "late-store-acks",
        "★ a late node acks nothing",
        "govraft/core/convergence/cosigner.py",
        "        if self.is_late:\n            return Refusal.LATE\n",
        "",
        _TESTS,
    ),
    Mutant(
        "own-signature-above-the-record-ignored",
        "★ an ack signed by its own key above its own record makes a node mute",
        _LATE,
        "        if ack.seq < acked.seq or (ack.seq == acked.seq and ack.root == acked.root):\n",
        "        if ack.seq:\n",
        _TESTS,
    ),
    Mutant(
        "a-bare-claim-mutes",
        "★ a member's bare word does nothing",
        _LATE,
        "            if signed.signer != self._epochs.node_id or not self._is_valid(\n",
        "            if signed.signer != self._epochs.node_id and not self._is_valid(\n",
        _TESTS,
    ),
    Mutant(
        "late-store-votes",
        "★ a late node votes nothing",
        "govraft/adapters/engine/elections.py",
        """        if not self.may_vote:
            self.faults["vote_withheld"] += 1
            return
        if self._is_of_earlier_epoch(message):
            return
""",
        """        if self._is_of_earlier_epoch(message):
            return
""",
        _VOTES,
    ),
    Mutant(
        "votes-released-in-the-same-term",
        "a vote that was forgotten is not cast again in its term",
        "govraft/adapters/engine/elections.py",
        "            self._SyncObj__setCurrentTerm(self._SyncObj__raftCurrentTerm, self._node_id)\n",
        "            pass\n",
        _VOTES,
    ),
    Mutant(
        "rounds-stay-open",
        "★ a leader keeps no round open for longer than a lease",
        "govraft/core/convergence/round.py",
        "        self._open = {key: item for key, item in self._open.items() if now - item.began < self._open_ns}\n",
        "        self._open = dict(self._open)\n",
        _ROUND,
    ),
    Mutant(
        "moved-on-for-ever",
        "★ that a holder moved on must be news of this lease",
        "govraft/core/convergence/round.py",
        "            and heard.asked is not None\n            and now - heard.asked < self._open_ns\n",
        "",
        _ROUND,
    ),
)
