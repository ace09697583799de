from __future__ import annotations

from collections.abc import Callable

import pytest

from govraft.core.evidence.lineage_export import encode_end, encode_header, encode_record, prove_lineage
from govraft.core.lineage.leaf import Leaf
from govraft.core.lineage.tree import MerkleTree
from govraft.errors import GovraftError, VerificationError


def lines_of(history, certificate: bytes | None = None) -> list[bytes]:
    machine = history.machine
    return [
        encode_header(history.sample.genesis, last=machine.seq),
        *(
            encode_record(seq, leaf, entry)
            for seq, (leaf, entry) in enumerate(zip(history.leaves, history.entries, strict=True), 1)
        ),
        encode_end(certificate or history.certify(machine.seq, machine.root)),
    ]


def test_an_honest_export_is_proven(history) -> None:
    told: list[int] = []
    proven = prove_lineage(lines_of(history), history.sample.genesis, told.append)
    assert (proven.checkpoint.seq, proven.applied, proven.rejected) == (6, 5, 1)
    assert (proven.checkpoint.root, proven.state_root) == (history.machine.root, history.machine.state_root)
    assert proven.checkpoint.cosigners == ("n1", "n2")
    assert sum(told) == 6


def reroot(leaves: list[bytes]) -> bytes:
    tree = MerkleTree()
    for leaf in leaves:
        tree.append(leaf)
    return tree.root()


def alter_leaf(history, seq: int, **changes: object) -> None:
    leaf = Leaf.decode(history.leaves[seq - 1])
    fields = {name: getattr(leaf, name) for name in leaf.__struct_fields__} | changes
    history.leaves[seq - 1] = Leaf(**fields).encode()


def swap_entries(history) -> None:
    history.entries[1], history.entries[2] = history.entries[2], history.entries[1]


def swap_rows(history) -> None:
    swap_entries(history)
    history.leaves[1], history.leaves[2] = history.leaves[2], history.leaves[1]


def drop(history) -> None:
    del history.entries[2], history.leaves[2]


TAMPERINGS: dict[str, Callable] = {
    "another genesis leaf": lambda h: alter_leaf(h, 1, time=5),
    "an entry for the genesis": lambda h: h.entries.__setitem__(0, h.entries[1]),
    "another outcome": lambda h: alter_leaf(h, 3, outcome="duplicate_command"),
    "a rejection as applied": lambda h: alter_leaf(h, 6, outcome="applied"),
    "another state": lambda h: alter_leaf(h, 3, state_root=bytes(32)),
    "another time": lambda h: alter_leaf(h, 6, time=1),
    "another epoch": lambda h: alter_leaf(h, 6, epoch=2),
    "another entry digest": lambda h: alter_leaf(h, 3, entry_digest=bytes(32)),
    "no entry": lambda h: h.entries.__setitem__(2, None),
    "another entry": lambda h: h.entries.__setitem__(2, h.entries[1]),
    "swapped entries": swap_entries,
    "swapped rows": swap_rows,
    "a missing row": drop,
    "a leaf of junk": lambda h: h.leaves.__setitem__(2, b"junk"),
}


@pytest.mark.clause("2 governance lineage")
@pytest.mark.clause("6 immutable governance lineage chains")
@pytest.mark.parametrize("name", TAMPERINGS)
def test_every_tampering_is_refused(history, name: str) -> None:
    TAMPERINGS[name](history)
    # Certified by a quorum that lies along: the replay alone must notice.
    certificate = history.certify(len(history.leaves), reroot(history.leaves), signers=3)
    with pytest.raises(VerificationError):
        prove_lineage(lines_of(history, certificate), history.sample.genesis)


def test_a_difference_is_named(history) -> None:
    alter_leaf(history, 3, state_root=bytes(32))
    with pytest.raises(VerificationError, match="seq 3 gives another leaf: `state_root` differs"):
        prove_lineage(lines_of(history), history.sample.genesis)


def test_every_line_carries_its_own_seq(history) -> None:
    lines = lines_of(history)
    lines[3] = encode_record(9, history.leaves[2], history.entries[2])
    with pytest.raises(VerificationError, match="seq 9 follows seq 2"):
        prove_lineage(lines, history.sample.genesis)


def test_a_certificate_of_another_root_is_refused(history) -> None:
    with pytest.raises(VerificationError, match="root"):
        prove_lineage(lines_of(history, history.certify(6, bytes(32))), history.sample.genesis)


@pytest.mark.parametrize("seq", [5, 7])
def test_a_certificate_of_another_seq_is_refused(history, seq: int) -> None:
    root = history.machine.lineage.root(min(seq, 6))
    with pytest.raises(VerificationError, match=f"seq {seq}"):
        prove_lineage(lines_of(history, history.certify(seq, root)), history.sample.genesis)


def test_less_than_a_quorum_or_another_cluster_is_refused(history) -> None:
    machine, genesis = history.machine, history.sample.genesis
    for certificate in (
        history.certify(6, machine.root, signers=1),
        history.certify(6, machine.root, origin="govraft.dev/" + "0" * 64),
    ):
        with pytest.raises(VerificationError):
            prove_lineage(lines_of(history, certificate), genesis)
    from govraft.testing.sample import SampleCluster

    with pytest.raises(VerificationError, match="another cluster"):
        prove_lineage(lines_of(history), SampleCluster(name="other").genesis)


def test_cut_doubled_and_garbled_files_are_refused(history) -> None:
    lines, genesis = lines_of(history), history.sample.genesis
    broken = [lines[:count] for count in range(len(lines))]
    broken += [[*lines, lines[-1]], [lines[0], *lines], lines[1:], [*lines[:3], lines[2], *lines[3:]], [*lines, b"\n"]]
    broken += [
        [*lines[:2], junk, *lines[2:]]
        for junk in (b"", b"{}", b"[]", b"\xff", b'{"seq":2}', b"{" * 5000, b" " * 300_000)
    ]
    for attempt in broken:
        with pytest.raises(VerificationError):
            prove_lineage(attempt, genesis)


def test_no_single_byte_may_change(history) -> None:
    lines, genesis = lines_of(history), history.sample.genesis
    proven = prove_lineage(lines, genesis)
    for number in (1, 3, len(lines) - 1):
        for place in range(0, len(lines[number]) - 1, 41):
            changed = bytearray(lines[number])
            changed[place] ^= 1
            try:
                again = prove_lineage([*lines[:number], bytes(changed), *lines[number + 1 :]], genesis)
            except GovraftError as error:
                assert isinstance(error, VerificationError)
                continue
            # A bit that carries nothing, such as one of a cosignature beyond the quorum's. What is proven is the same.
            assert again == proven


@pytest.mark.parametrize("change", [(b'"last":6', b'"last":7'), (b'"last":', b'"l9st":'), (b"{", b'{"seq":9,')])
def test_a_changed_header_is_refused(history, change: tuple[bytes, bytes]) -> None:
    lines = lines_of(history)
    lines[0] = lines[0].replace(*change, 1)
    with pytest.raises(VerificationError):
        prove_lineage(lines, history.sample.genesis)
