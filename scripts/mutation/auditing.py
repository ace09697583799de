"""The decision log: nothing leaves it unnoticed, and what it says follows from the lineage."""

from __future__ import annotations

from mutant import Mutant

__all__ = ["AUDITING_MUTANTS"]

_KEEPER = "govraft/node/decision_keeper.py"
_KEEPER_TESTS = ("tests/unit/node/test_decision_keeper.py",)
_BUFFER = "govraft/node/decisions.py"
_BUFFER_TESTS = ("tests/unit/node/test_decisions.py",)
_LOG = "govraft/adapters/decision_log.py"
_LOG_TESTS = ("tests/unit/adapters/test_decision_log.py",)
_ANCHOR = "govraft/core/machine/audit.py"
_ANCHOR_TESTS = ("tests/unit/core/machine/test_audit.py",)
_REPLAY = "govraft/core/evidence/replay.py"
_JUDGE = "govraft/core/evidence/reevaluation.py"
_REASONS = "govraft/core/model/reasons.py"
_FINDING = "govraft/core/decision/finding.py"
_BATCH = "govraft/cli/batch.py"
_REPLAY_TESTS = ("tests/unit/core/evidence/test_audit_replay.py",)
_HEAD_TESTS = ("tests/unit/core/evidence/test_audit_replay.py",)

AUDITING_MUTANTS = (
    Mutant(
        "strict-allow-leaves-early",
        "an allow of a strict log is durable before it leaves",
        _KEEPER,
        "            self._write()\n            return future\n",
        "            self._write()\n            return verdict\n",
        _KEEPER_TESTS,
    ),
    Mutant(
        "unnoted-allow-leaves",
        "what cannot be recorded is not allowed in a strict log",
        _KEEPER,
        "            if self._buffer.mode is DecisionMode.STRICT and isinstance(verdict, Allow):\n",
        "            if self._buffer.mode is DecisionMode.STRICT and isinstance(verdict, Deny):\n",
        _KEEPER_TESTS,
    ),
    Mutant(
        "stopping-node-promises-allows",
        "a node that stops gives no allow that it may not record",
        _KEEPER,
        '            refusal = "the node is stopping"\n',
        '            refusal = ""\n',
        _KEEPER_TESTS,
    ),
    Mutant(
        "failed-write-allows",
        "an allow whose record failed is a denial",
        _KEEPER,
        "                found = _unrecorded(verdict, why)\n",
        "                found = verdict\n",
        _KEEPER_TESTS,
    ),
    Mutant(
        "strict-log-ignores-its-disk",
        "while a strict log's disk fails every allow is refused",
        _BUFFER,
        '        return self.failure or ("" if self._has_room(0) else',
        '        return ("" if self._has_room(0) else',
        _BUFFER_TESTS,
    ),
    Mutant(
        "dropped-decisions-not-counted",
        "what was dropped is counted in the log itself",
        _BUFFER,
        "        self._missing += 1\n",
        "",
        _BUFFER_TESTS,
    ),
    Mutant(
        "failed-batch-forgotten",
        "a failed write is tried again with the same records",
        _BUFFER,
        "        self._pending.extendleft(reversed(kept))\n",
        "",
        _BUFFER_TESTS,
    ),
    Mutant(
        "decision-commit-without-fsync",
        "a decision is durable when COMMIT returns",
        _LOG,
        '        connection.execute("PRAGMA synchronous = FULL")\n',
        '        connection.execute("PRAGMA synchronous = OFF")\n',
        _LOG_TESTS,
    ),
    Mutant(
        "tree-of-a-failed-write-kept",
        "after a failed write the file is looked at again",
        _LOG,
        "            self.close()\n            raise _failure(self._path, error) from error\n"
        "        except BaseException:\n",
        "            raise _failure(self._path, error) from error\n        except BaseException:\n",
        _LOG_TESTS,
    ),
    Mutant(
        "decision-log-of-another-node",
        "a node goes on with its own log only",
        _LOG,
        "        if (identity.cluster, identity.node) != (cluster, node):\n",
        "        if identity.cluster != cluster:\n",
        _LOG_TESTS,
    ),
    Mutant(
        "missing-record-not-noticed",
        "no record leaves the log unnoticed",
        _LOG,
        "            if index != self.tree.size:\n",
        "            if index < self.tree.size:\n",
        _LOG_TESTS,
    ),
    Mutant(
        "anothers-log-anchored",
        "nobody speaks for another node's log",
        _ANCHOR,
        "    if context.node != command.node:\n",
        "    if context.node is None:\n",
        _ANCHOR_TESTS,
    ),
    Mutant(
        "anchored-log-shrinks",
        "a log only grows",
        _ANCHOR,
        "    if size <= last.size:\n",
        "    if size < 0:\n",
        _ANCHOR_TESTS,
    ),
    Mutant(
        "anchor-without-consistency",
        "what is anchored stays as it is",
        _ANCHOR,
        "        verify_consistency(last.size, last.root, size, root, proof)\n",
        "        last.root.hex()\n",
        _ANCHOR_TESTS,
    ),
    Mutant(
        "previous-log-forgotten",
        "which log came before stays on record",
        _ANCHOR,
        '        previous = "" if last is None else last.log\n',
        "",
        _ANCHOR_TESTS,
    ),
    Mutant(
        "rolled-back-log-anchored",
        "a log that went back in time is not anchored again",
        "govraft/node/anchoring.py",
        "            if last.size >= head.size:\n",
        "            if last.size < 0:\n",
        ("tests/unit/node/test_anchoring.py",),
    ),
    Mutant(
        "head-not-held-against-the-records",
        "a log's head extends the records of the file",
        "govraft/core/evidence/decision_export.py",
        "    verify_consistency(header.last, root, end.size, bytes.fromhex(end.root), _bytes(end.proof))\n",
        "",
        _HEAD_TESTS,
    ),
    Mutant(
        "anchored-records-not-compared",
        "records are those that the lineage anchors",
        _REPLAY,
        "            if anchor is not None and anchor.root != tree.root() and not problems:\n",
        "            if anchor is not None and not anchor.root and not problems:\n",
        _REPLAY_TESTS,
    ),
    Mutant(
        "cut-log-is-clean",
        "a log is no shorter than its last anchor",
        _REPLAY,
        "        if longest is not None and longest.size > end.size:\n",
        "        if longest is not None and longest.size < 0:\n",
        _REPLAY_TESTS,
    ),
    Mutant(
        "claimed-anchor-believed",
        "each anchor that a file names is in the lineage",
        _REPLAY,
        "            if (item.size, item.root, item.seq) not in known\n",
        "            if not known\n",
        _REPLAY_TESTS,
    ),
    Mutant(
        "missing-records-not-blamed",
        "each record that is missing is told",
        _REPLAY,
        '        log.blame(index, "", "missing", "nothing", "a record")\n        log.is_whole = False\n',
        "        log.is_whole = False\n",
        _REPLAY_TESTS,
    ),
    Mutant(
        "record-of-another-node",
        "each record is of the log's own node",
        _REPLAY,
        "    if record.node != log.header.node:\n",
        "    if not record.node:\n",
        _REPLAY_TESTS,
    ),
    Mutant(
        "record-beyond-the-lineage",
        "a record names a state that the lineage has",
        _REPLAY,
        '            log.blame(record.index, record.decision, "state", f"seq {record.seq}", expected)\n',
        "            del expected\n",
        _REPLAY_TESTS,
    ),
    Mutant(
        "allow-without-a-state",
        "an allow is always held against a state",
        _JUDGE,
        '    if record.verdict == "allow" or reason is None or record.state_root:\n',
        "    if record.state_root:\n",
        _REPLAY_TESTS,
    ),
    Mutant(
        "recorded-state-not-compared",
        "a record's state root is that of its seq",
        _JUDGE,
        "    if record.state_root != machine.state_root.hex():\n",
        "    if not record.state_root:\n",
        _REPLAY_TESTS,
    ),
    Mutant(
        "recorded-verdict-not-compared",
        "a record says what evaluating it again gives",
        _JUDGE,
        "    if recorded != expected:\n",
        "    if recorded[0] != expected[0]:\n",
        _REPLAY_TESTS,
    ),
    Mutant(
        "recorded-allow-not-evaluated",
        "a recorded allow is evaluated again in full",
        _JUDGE,
        "    return _compare(record, finding)\n",
        '    return _compare(record, finding) if record.verdict == "deny" else Judgement("allow")\n',
        _REPLAY_TESTS,
    ),
    Mutant(
        "state-reasons-taken-for-standing",
        "a denial by the state needs a state that denies",
        _JUDGE,
        "    if finding.is_allow and reason is not None and reason.is_about_node(record.seq):\n",
        "    if finding.is_allow and reason is not None:\n",
        _REPLAY_TESTS,
    ),
    Mutant(
        "code-of-two-meanings-taken-for-standing",
        "a code that can speak of the node speaks of the request in a denial that names a state",
        _REASONS,
        "(self.of_node and seq == 0)",
        "self.of_node",
        (*_REPLAY_TESTS, "tests/unit/node/test_permits_collecting.py"),
    ),
    Mutant(
        "rate-believed-without-a-rate",
        "a denial by a rate needs a rate",
        _FINDING,
        "self.is_allow and bool(self.charges))",
        "self.is_allow)",
        (*_REPLAY_TESTS, "tests/unit/node/test_permits_collecting.py"),
    ),
    Mutant(
        "disagreement-of-the-gate-believed",
        "no gate decides that members disagree",
        _JUDGE,
        "record.reason != Reason.AUTHORIZATION_INCONSISTENT or record.decision:",
        "record.reason != Reason.AUTHORIZATION_INCONSISTENT:",
        _REPLAY_TESTS,
    ),
    Mutant(
        "node-reasons-meet-an-expected-deny",
        "an expected deny is met only on the merits",
        _BATCH,
        "verdict.reason.step is not None and verdict.seq > 0",
        "verdict.seq > 0",
        ("tests/unit/cli/test_check.py",),
    ),
    Mutant(
        "recorded-request-exchanged",
        "a record's request is the one of its digest",
        _JUDGE,
        "        if asked_digest(record.request) != record.request_digest:\n",
        "        if not record.request_digest:\n",
        _REPLAY_TESTS,
    ),
    Mutant(
        "evaluated-at-another-time",
        "a record is evaluated at its own time",
        _JUDGE,
        "node_id=record.node, wall=record.time)",
        "node_id=record.node, wall=machine.time)",
        _REPLAY_TESTS,
    ),
)
