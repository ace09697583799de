"""What binds the parts of a lease to each other and to the electorate of its epoch."""

from __future__ import annotations

import msgspec
import pytest

from govraft.core.codec.note import Checkpoint, Note, format_note
from govraft.errors import CertificateError


def test_the_certificate_must_be_of_the_probes_own_root(world):
    """A quorum for another root of the same seq proves a fork, not this state."""
    probe = world.probe(5)
    acks = [world.ack("a", probe), world.ack("b", probe)]
    other = Checkpoint(world.origin, 5, world.root(6))
    note = format_note(Note(other.encode(), tuple(world.line(node, other) for node in "ab")))
    with pytest.raises(CertificateError, match="different checkpoints"):
        world.verify(world.lease(probe, acks, note=note))


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_lease_of_an_earlier_or_later_epoch_is_refused(world, epoch):
    world.electorate = msgspec.structs.replace(world.electorate, epoch=2)
    probe = world.probe(5, epoch=epoch)
    with pytest.raises(CertificateError, match=f"epoch {epoch}, not of 2"):
        world.verify(world.lease(probe, [world.ack("a", probe), world.ack("b", probe)]))
