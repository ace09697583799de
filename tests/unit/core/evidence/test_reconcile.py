import pytest

from govraft.core.evidence.reconcile import AnchoredHead, check_log, compare_lineages, reconcile_lineages
from govraft.core.lineage.tree import MerkleTree
from govraft.errors import AvailabilityError, InputError


class View:
    """A node's lineage, in memory."""

    def __init__(self, name, leaves):
        self.name, self.tree, self.asked = name, MerkleTree(), 0
        for leaf in leaves:
            self.tree.append(leaf)

    @property
    def seq(self):
        return self.tree.size

    def root(self, seq):
        self.asked += 1
        return self.tree.root(seq)

    def consistency(self, first, second):
        return self.tree.consistency_proof(first, second)


def leaves(count, forked_at=None, mark=b"fork"):
    return [b"%d" % seq if forked_at is None or seq < forked_at else mark + b"%d" % seq for seq in range(1, count + 1)]


@pytest.mark.parametrize("sizes", [(1, 1), (5, 5), (3, 100), (64, 65), (100, 3)])
def test_the_beginning_of_a_lineage_agrees_with_it(sizes):
    assert compare_lineages(View("a", leaves(sizes[0])), View("b", leaves(sizes[1]))) is None


@pytest.mark.parametrize("forked_at", [1, 2, 3, 50, 63, 64, 65, 99, 100])
@pytest.mark.parametrize("longer", [100, 131])
def test_the_first_seq_that_differs_is_named(forked_at, longer):
    left, right = View("a", leaves(100)), View("b", leaves(longer, forked_at))
    for one, other in ((left, right), (right, left)):
        found = compare_lineages(one, other)
        assert (found.left, found.right, found.seq) == (
            ("a", "b", forked_at) if longer > 100 or one is left else ("b", "a", forked_at)
        )
        assert found.left_root != found.right_root
        assert f"from seq {forked_at} on" in found.message


def test_few_roots_are_asked_for():
    left, right = View("a", leaves(5_000)), View("b", leaves(5_000, 1_234))
    assert compare_lineages(left, right).seq == 1_234
    assert left.asked < 20


def test_a_node_that_repeats_what_others_say_is_found():
    class Parrot(View):
        def root(self, seq):
            return MerkleTree.root(self.honest.tree, seq) if seq <= 50 else self.tree.root(seq)

    parrot = Parrot("b", leaves(80, 10))
    parrot.honest = View("a", leaves(50))
    found = compare_lineages(parrot.honest, parrot)
    assert found.seq == 0 and "does not prove" in found.message


@pytest.mark.clause("6 distributed audit reconciliation")
def test_all_nodes_are_compared_and_who_stands_alone_is_seen():
    views = [View("a", leaves(40)), View("b", leaves(60)), View("c", leaves(50, 7))]
    found = reconcile_lineages(views)
    assert {(item.left, item.right, item.seq) for item in found} == {("a", "c", 7), ("c", "b", 7)}
    assert reconcile_lineages(views[:2]) == []
    assert reconcile_lineages([]) == []


def test_a_node_that_does_not_answer_is_no_agreement():
    class Silent(View):
        def root(self, seq):
            raise AvailabilityError("gone")

    with pytest.raises(AvailabilityError):
        reconcile_lineages([View("a", leaves(5)), Silent("b", leaves(9))])


class Log:
    """A node's decision log, in memory."""

    def __init__(self, size, forked_at=None, log="0a" * 16):
        self.tree, self.log = View("log", leaves(size, forked_at)).tree, log

    @property
    def size(self):
        return self.tree.size

    @property
    def root(self):
        return self.tree.root()

    def consistency(self, first, second):
        return self.tree.consistency_proof(first, second)


def anchor(size, log="0a" * 16):
    return AnchoredHead(log, size, View("log", leaves(size)).tree.root(), 77)


@pytest.mark.parametrize("size", [5, 6, 100])
def test_a_log_that_extends_its_anchor_is_in_order(size):
    assert check_log(anchor(5), Log(size)) == ""


def test_a_log_that_was_never_anchored_is_in_order():
    assert check_log(None, Log(3)) == ""


def test_a_log_that_does_not_extend_its_anchor_is_found():
    assert "does not extend what seq 77 anchored" in check_log(anchor(50), Log(100, 20))
    assert "does not extend" in check_log(anchor(50), Log(50, 20))


def test_a_log_that_was_cut_replaced_or_lost_is_found():
    assert check_log(anchor(50), Log(49)) == "its decision log has 49 records, 50 are anchored at seq 77"
    assert "was replaced" in check_log(anchor(50), Log(100, log="0b" * 16))
    assert "cannot be read" in check_log(anchor(50), Log(0, log=""))


def test_a_log_that_proves_nothing_is_found():
    log = Log(100)
    log.consistency = lambda first, second: (_ for _ in ()).throw(InputError("no"))
    assert "does not extend" in check_log(anchor(50), log)
