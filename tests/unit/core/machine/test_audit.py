import base64

import pytest

from govraft.core.codec.envelope import pae, seal
from govraft.core.lineage.tree import MerkleTree
from govraft.core.machine.audit import anchor_log
from govraft.core.machine.machine import Machine
from govraft.core.machine.state import Changes, Context
from govraft.core.model.commands import AuditAnchor, encode_command, payload_type

LOG, OTHER_LOG = "0a" * 16, "0b" * 16


def text(nodes):
    return tuple(base64.b64encode(node).decode() for node in nodes)


class DecisionLog:
    """A log of a node, and its anchors."""

    def __init__(self, bench, node="n1", log=LOG, prefix=b"record"):
        self.bench, self.node, self.log, self.prefix = bench, node, log, prefix
        self.tree, self.anchored = MerkleTree(), 0

    def grow(self, count):
        for _ in range(count):
            self.tree.append(b"%b %d" % (self.prefix, self.tree.size))
        return self

    def command(self, **fields):
        size = fields.get("size", self.tree.size)
        proof = self.tree.consistency_proof(self.anchored, size) if self.anchored <= size <= self.tree.size else ()
        defaults = {
            "node": self.node,
            "log": self.log,
            "size": size,
            "root": self.tree.root(min(size, self.tree.size)).hex(),
            "proof": text(proof),
        }
        return self.bench.command(AuditAnchor, **{**defaults, **fields})

    def anchor(self, *signers, **fields):
        command = self.command(**fields)
        kind, payload = payload_type(command), encode_command(command)
        keys = [self.bench.cluster.node_keys[name] for name in signers or (self.node,)]
        message = pae(kind, payload)
        envelope = seal(kind, payload, [(key.public_key().public_bytes_raw(), key.sign(message)) for key in keys])
        code = self.bench.apply_envelope(envelope).outcome.code
        if code == "applied":
            self.anchored = command.size
        return code


@pytest.fixture
def log(bench):
    return DecisionLog(bench)


def test_an_anchor_is_kept_with_its_entry(bench, log):
    assert log.grow(5).anchor() == "applied"
    anchor = bench.machine.anchors["n1"]
    assert (anchor.log, anchor.size, anchor.root, anchor.previous) == (LOG, 5, log.tree.root(), "")
    assert (anchor.node, anchor.seq, anchor.time) == ("n1", bench.machine.seq, bench.machine.time)


def test_a_log_that_grew_takes_the_place_of_its_last_anchor(bench, log):
    log.grow(5).anchor()
    for count in (1, 3, 300):
        assert log.grow(count).anchor() == "applied"
        assert bench.machine.anchors["n1"].size == log.tree.size


@pytest.mark.parametrize("size", [1, 4, 5])
def test_a_log_never_shrinks_nor_stays(bench, log, size):
    log.grow(5).anchor()
    assert log.anchor(size=size) == "anchor_inconsistent"
    assert bench.machine.anchors["n1"].size == 5


def test_an_anchored_record_cannot_be_changed(bench, log):
    log.grow(5).anchor()
    forged = DecisionLog(bench, prefix=b"forged").grow(9)
    forged.anchored = 5
    assert forged.anchor() == "anchor_inconsistent"
    assert bench.machine.anchors["n1"].root == log.tree.root()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda proof: (),
        lambda proof: proof[:-1],
        lambda proof: proof[::-1],
        lambda proof: (*proof, proof[0]),
        lambda proof: (text([bytes(32)])[0], *proof[1:]),
    ],
)
def test_a_proof_that_shows_nothing_is_refused(bench, log, spoil):
    log.grow(5).anchor()
    log.grow(8)
    proof = text(log.tree.consistency_proof(5, 13))
    assert log.anchor(proof=spoil(proof)) == "anchor_inconsistent"
    assert log.anchor(proof=proof) == "applied"


@pytest.mark.parametrize("proof", [("AA==",), ("AA",), (base64.b64encode(bytes(32)).decode()[:-2] + "B=",)])
def test_a_proof_that_cannot_be_read_is_refused(bench, log, proof):
    log.grow(5).anchor()
    log.grow(8)
    assert log.anchor(proof=proof) == "evidence_invalid"


def test_another_log_begins_again_and_names_the_one_before(bench, log):
    log.grow(50).anchor()
    other = DecisionLog(bench, log=OTHER_LOG, prefix=b"other").grow(2)
    assert other.anchor() == "applied"
    assert (bench.machine.anchors["n1"].previous, bench.machine.anchors["n1"].size) == (LOG, 2)
    assert other.grow(1).anchor() == "applied"
    assert bench.machine.anchors["n1"].previous == LOG


def test_the_first_anchor_of_a_log_proves_nothing(bench, log):
    assert log.grow(3).anchor(proof=text([bytes(32)])) == "anchor_inconsistent"


def test_nobody_anchors_the_log_of_another(bench, log):
    log.grow(3)
    assert log.anchor("n2") == "threshold_unmet"
    envelope = bench.cluster.sign(log.command(), "rita", "ruth", "olga", "pat")
    assert bench.apply_envelope(envelope).outcome.code == "threshold_unmet"
    assert bench.machine.anchors == {}


@pytest.mark.parametrize("node", [None, "n2"])
def test_the_handler_itself_takes_no_word_for_it(bench, log, node):
    command = log.grow(3).command()
    context = Context(bench.machine.seq + 1, bench.time, (), node=node)
    assert anchor_log(bench.machine._state, command, context).code == "threshold_unmet"
    assert isinstance(anchor_log(bench.machine._state, command, context._replace(node="n1")), Changes)


def test_a_stranger_is_no_node(bench, log):
    assert log.grow(3).anchor("n2", node="n9") == "threshold_unmet"


def test_nodes_do_not_disturb_each_other(bench, log):
    log.grow(3).anchor()
    second = DecisionLog(bench, node="n2", log=OTHER_LOG).grow(2)
    assert second.anchor() == "applied"
    assert {name: anchor.size for name, anchor in bench.machine.anchors.items()} == {"n1": 3, "n2": 2}


@pytest.mark.parametrize(
    "fields",
    [
        {"size": 0},
        {"size": 2**53 + 1},
        {"log": "0A" * 16},
        {"log": "0a" * 15},
        {"root": "00" * 31},
        {"node": ""},
        {"proof": ("!",)},
        {"proof": text([bytes(32)]) * 65},
    ],
)
def test_what_has_no_shape_is_malformed(log, fields):
    assert log.grow(3).anchor("n1", **fields) == "payload_malformed"


def test_the_largest_log_has_a_place(log):
    assert log.anchor(size=2**53, root="00" * 32, proof=()) == "applied"


def test_anchors_survive_a_snapshot(bench, log):
    log.grow(3).anchor()
    machine = bench.machine
    restored = Machine.restored(
        bench.cluster.genesis,
        time=machine.time,
        records=machine.copy_records(),
        lineage=machine.lineage.copy(),
        recent=[machine.leaf_bytes(machine.seq)],
    )
    assert restored.anchors == machine.anchors
