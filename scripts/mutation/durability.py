"""architecture.md, "Storage": what is durable when, and what a damaged store may not do."""

from __future__ import annotations

from mutant import Mutant

__all__ = ["DURABILITY_MUTANTS"]

_STORE = "govraft/adapters/sqlite_store.py"
_ROWS = "govraft/adapters/store_rows.py"
_RULES = "govraft/adapters/store_rules.py"
_STORE_TESTS = ("tests/unit/adapters/test_sqlite_store.py",)
_RULES_TESTS = ("tests/unit/adapters/test_store_rules.py",)

_SNAPSHOTS = "govraft/node/snapshots.py"
_SNAPSHOT_TESTS = ("tests/unit/node/test_snapshots.py",)
_SNAPSHOT_PROOF = "govraft/core/evidence/snapshot_proof.py"
_SNAPSHOT_PROOF_TESTS = ("tests/unit/core/evidence/test_snapshot_proof.py",)
_JOINING = "govraft/node/joining.py"
_JOINING_TESTS = ("tests/unit/node/test_joining.py",)
_LOG = "govraft/adapters/log_output.py"

DURABILITY_MUTANTS = (
    Mutant(
        "sends-before-the-write",
        "nothing leaves before what it speaks of is durable",
        "govraft/node/runtime.py",
        "        self._is_writing = True\n",
        "        self._is_writing = True\n        self._guarded(lambda: self._release(effects))\n",
        ("tests/unit/node/test_runtime.py",),
    ),
    Mutant(
        "goes-on-after-a-failed-write",
        "after a failed write nothing is sent",
        "govraft/node/runtime.py",
        "        if future.cancelled() or error is not None:\n"
        '            self.halt(error or asyncio.CancelledError("the write was cancelled"))\n'
        "            return\n",
        "",
        ("tests/unit/node/test_runtime.py",),
    ),
    Mutant(
        "halted-node-answers",
        "a halted node denies",
        "govraft/node/runtime.py",
        '            return Deny(reason=Reason.NODE_UNREACHABLE, message="the node has halted", node=self._node_id)\n',
        "            pass\n",
        ("tests/unit/node/test_runtime.py",),
    ),
    Mutant(
        "answers-after-a-defect",
        "a core that raised is never asked again",
        "govraft/node/runtime.py",
        "        except BaseException as error:  # noqa: BLE001 - every failure of the core halts the node\n"
        "            self.halt(error)\n",
        "        except BaseException as error:\n            del error\n",
        ("tests/unit/node/test_runtime.py",),
    ),
    Mutant(
        "commit-without-fsync",
        "durable when COMMIT returns",
        _STORE,
        'self._connection.execute("PRAGMA synchronous = FULL")',
        'self._connection.execute("PRAGMA synchronous = OFF")',
        _STORE_TESTS,
    ),
    Mutant(
        "guard-not-checked",
        "a store that lost its log, or an older copy of it, does not vote again",
        _STORE,
        "        if summary.writes < marked:\n",
        "        if summary.writes < 0:\n",
        _STORE_TESTS,
    ),
    Mutant(
        "missing-database-made-anew",
        "a node that has run never starts on an empty store",
        _STORE,
        "    if guard.writes:\n        message = (\n",
        "    if guard.writes == 0:\n        message = (\n",
        _STORE_TESTS,
    ),
    Mutant(
        "writes-after-a-failure",
        "the first failed write is the last",
        _STORE,
        "            self._failure = str(error) or type(error).__name__\n",
        "            pass\n",
        _STORE_TESTS,
    ),
    Mutant(
        "guard-mark-not-checked",
        "a damaged guard stops the node",
        "govraft/adapters/store_guard.py",
        "            if magic == _MAGIC and checksum == _checksum(writes):\n",
        "            if magic == _MAGIC:\n",
        ("tests/unit/adapters/test_store_guard.py",),
    ),
    Mutant(
        "two-processes-on-one-store",
        "one process has a store at a time",
        "govraft/adapters/store_guard.py",
        "            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "            fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)\n",
        _STORE_TESTS,
    ),
    Mutant(
        "journal-checksum-not-checked",
        "a damaged journal entry stops the node",
        _ROWS,
        "index < 1 or term < 0 or journal_checksum(index, term, payload) != checksum:",
        "index < 1 or term < 0:",
        _STORE_TESTS,
    ),
    Mutant(
        "record-checksum-not-checked",
        "a damaged vote or cosigner record stops the node",
        _ROWS,
        "        if _record_checksum(name, value) != checksum:\n",
        "        if not checksum:\n",
        _STORE_TESTS,
    ),
    Mutant(
        "store-of-another-node",
        "a node starts only on its own store",
        _ROWS,
        "        if expected is not None and meta[key] != expected:\n",
        "        if expected is not None and not meta[key]:\n",
        _STORE_TESTS,
    ),
    Mutant(
        "cosigner-record-falls",
        "an acked seq is never forgotten, nor signed with two roots",
        _RULES,
        "        old is None or new.seq > old.seq or new == old,\n",
        "        old is None or new.seq > 0,\n",
        _RULES_TESTS,
    ),
    Mutant(
        "store-changes-a-vote",
        "one vote a term, whoever asks",
        _RULES,
        "new.term > old.term or old.voted_for is None or new.voted_for == old.voted_for,",
        "new.term >= old.term,",
        _RULES_TESTS,
    ),
    Mutant(
        "isolation-forgotten-at-restart",
        "an isolated node stays isolated across restarts",
        "govraft/node/convergence.py",
        "self.isolation: IsolationRecord | None = stored.isolation",
        "self.isolation: IsolationRecord | None = None",
        (
            "tests/unit/node/test_convergence.py",
            "tests/unit/node/test_electorate_changes.py",
            "tests/unit/node/test_core.py",
        ),
    ),
    Mutant(
        "cosigner-record-forgotten-at-restart",
        "★ what was acked is remembered across restarts",
        "govraft/node/convergence.py",
        "acked=None if stored.cosigner is None else Acked(stored.cosigner.seq, stored.cosigner.root)",
        "acked=None",
        ("tests/simulation/test_rules.py",),
        ("adversary", 0, 9),
    ),
    Mutant(
        "replay-not-compared",
        "stored leaves equal those that the journal gives",
        "govraft/node/core.py",
        "        elif self._stored_leaves[seq - 1] != StoredLeaf(index, leaf):\n",
        "        elif not leaf:\n",
        ("tests/unit/node/test_core.py",),
    ),
    Mutant(
        "cosigned-root-not-compared-at-start",
        "a node that holds another lineage than it signed does not start",
        "govraft/node/core.py",
        "if record.seq > self.machine.seq or self.machine.lineage.root(record.seq) != record.root:",
        "if record.seq > self.machine.seq:",
        ("tests/unit/node/test_core.py",),
    ),
    Mutant(
        "snapshot-without-a-certificate",
        "only what a quorum certified is kept as a snapshot",
        _SNAPSHOTS,
        "        if image is None or convergence.certified_seq < image.seq:\n",
        "        if image is None:\n",
        _SNAPSHOT_TESTS,
    ),
    Mutant(
        "snapshot-certificate-not-verified",
        "a snapshot is believed only with a quorum's certificate",
        _SNAPSHOTS,
        "verify_certificate(snapshot.certificate, judges, genesis.origin, is_valid=is_valid)",
        "verify_certificate(snapshot.certificate, judges, genesis.origin, is_valid=lambda *_: True)",
        _SNAPSHOT_TESTS,
    ),
    Mutant(
        "snapshot-of-another-lineage",
        "the stored lineage has the root that the snapshot's certificate signs",
        _SNAPSHOTS,
        "    if proof.root() != found.checkpoint.root:\n",
        "    if not proof.root():\n",
        _SNAPSHOT_TESTS,
    ),
    Mutant(
        "snapshot-of-another-journal",
        "each stored entry below a snapshot is the one of its leaf",
        _SNAPSHOTS,
        "    if entry is None or entry_digest(entry) not in leaf:\n",
        "    if entry is None:\n",
        _SNAPSHOT_TESTS,
    ),
    Mutant(
        "snapshot-records-not-compared",
        "a snapshot's records have the digests that its leaf says",
        "govraft/core/machine/state.py",
        "        if found != digests:\n",
        "        if not found:\n",
        ("tests/unit/core/machine/test_snapshot.py", *_SNAPSHOT_TESTS),
    ),
    Mutant(
        "snapshot-leaf-anywhere",
        "a snapshot's leaf lies under the certified root",
        _SNAPSHOT_PROOF,
        "    verify_inclusion(snapshot.leaf, snapshot.seq - 1, checkpoint.seq, snapshot.proof, checkpoint.root)\n",
        "",
        _SNAPSHOT_PROOF_TESTS,
    ),
    Mutant(
        "snapshot-links-left-out",
        "a snapshot's links lead to the epoch of its leaf",
        _SNAPSHOT_PROOF,
        "    if leaf.epoch != in_force:\n",
        "    if leaf.epoch < in_force:\n",
        _SNAPSHOT_PROOF_TESTS,
    ),
    Mutant(
        "copy-of-an-uncertified-lineage",
        "a new node begins with leaves that a quorum has certified",
        _JOINING,
        "        if tree.root(seq) != root:\n",
        "        if not tree.root(seq):\n",
        _JOINING_TESTS,
    ),
    Mutant(
        "copy-without-a-change-of-the-electorate",
        "a new node learns of every change of the electorate below what it begins with",
        _JOINING,
        "        if leaf.epoch != history.in_force(seq).epoch:\n",
        "        if leaf.epoch < history.in_force(seq).epoch:\n",
        _JOINING_TESTS,
    ),
    Mutant(
        "copy-with-other-entries",
        "a new node begins with the entries that its leaves name",
        _JOINING,
        "        if entry_digest(entry) != leaf.entry_digest:\n",
        "        if not entry:\n",
        _JOINING_TESTS,
    ),
    Mutant(
        "copy-with-a-vote",
        "a new node takes over no vote",
        _JOINING,
        "HardState(term=last.term, voted_for=None, commit_index=last.index)",
        "HardState(term=last.term, voted_for=copy.hard_state.voted_for, commit_index=last.index)",
        _JOINING_TESTS,
    ),
    Mutant(
        "snapshot-checksum-not-checked",
        "a damaged snapshot stops the start before it is parsed",
        "govraft/core/machine/snapshot.py",
        "if len(data) <= _CHECKSUM_BYTES or sha256(body).digest() != checksum:",
        "if len(data) <= _CHECKSUM_BYTES:",
        ("tests/unit/core/machine/test_snapshot.py",),
    ),
    Mutant(
        "goes-on-after-a-failed-snapshot",
        "a disk that cannot take a snapshot is not trusted with the next vote",
        "govraft/node/runtime.py",
        '            self.halt(error or asyncio.CancelledError("saving a snapshot was cancelled"))\n',
        "",
        ("tests/unit/node/test_runtime_snapshots.py", "tests/unit/node/test_runtime.py"),
    ),
    Mutant(
        "journal-window-drops-what-is-not-durable",
        "what the disk may not hold yet is never dropped from memory",
        "govraft/adapters/engine/journal.py",
        "droppable = min(applied, self._durable) - self._floor + 1",
        "droppable = applied - self._floor + 1",
        ("tests/unit/engine/test_journal_window.py",),
    ),
    Mutant(
        "guard-on-a-standard-stream",
        "no message of native code reaches the guard of a store",
        "govraft/adapters/store_guard.py",
        "    if descriptor > _STDERR:\n",
        "    if descriptor >= 0:\n",
        ("tests/unit/adapters/test_store_guard.py",),
    ),
    Mutant(
        "closed-descriptors-given-out",
        "no file of a node takes the place of a standard stream",
        "govraft/cli/standard_streams.py",
        "(descriptor := os.open(os.devnull, os.O_RDWR)) < _STANDARD:",
        "(descriptor := os.open(os.devnull, os.O_RDWR)) < 0:",
        ("tests/unit/cli_node/test_standard_streams.py",),
    ),
    Mutant(
        "log-waits-for-its-reader",
        "a log reader that is stuck costs a node neither time nor memory",
        _LOG,
        "        if self._lines.qsize() >= LINES_MAX:\n",
        "        if self._lines.qsize() < 0:\n",
        ("tests/unit/adapters/test_log_output.py",),
    ),
    Mutant(
        "log-failure-ends-the-log",
        "a line that cannot be written is counted, and the next one is tried",
        _LOG,
        "            except OSError:\n                # SAFETY: a log",
        "            except KeyError:\n                # SAFETY: a log",
        ("tests/unit/adapters/test_log_output.py",),
    ),
)
