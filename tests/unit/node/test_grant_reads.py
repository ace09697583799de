"""What a node tells about grants and boundaries."""

from types import SimpleNamespace

import pytest

from govraft.core.machine.grant_view import GRANT_PREFIX, Grant
from govraft.core.machine.machine import Machine
from govraft.core.machine.records import Mark
from govraft.core.machine.state import Changes
from govraft.errors import InputError
from govraft.node import grant_reads as module
from govraft.testing.sample import CREATED, SampleCluster

HOUR = 3_600_000


@pytest.fixture
def machine():
    found = Machine(SampleCluster().genesis)
    changes = Changes()
    for name, parent, begin, end, revoked in (
        ("top", None, 0, HOUR, None),
        ("sub", "top", 0, 2 * HOUR, None),
        ("later", None, 10, HOUR, None),
        ("gone", None, 0, HOUR, Mark("why", ("olga",), 3, CREATED)),
        ("orphan", "gone", 0, HOUR, None),
    ):
        grant = Grant(
            name,
            'Agent::"a"',
            ("x",),
            ("y",),
            CREATED + begin,
            CREATED + end,
            1,
            2,
            1,
            (),
            parent=parent,
            revoked=revoked,
        )
        changes.put("grants", GRANT_PREFIX + name, grant)
    found.state.commit(changes)
    return found


def reads(machine, at=0):
    return module.grant_reads(machine, SimpleNamespace(wall=lambda: CREATED + at))


@pytest.mark.parametrize(
    ("at", "statuses"),
    [
        (0, {"top": "valid", "sub": "valid", "later": "pending", "gone": "revoked", "orphan": "revoked"}),
        (10, {"top": "valid", "sub": "valid", "later": "valid", "gone": "revoked", "orphan": "revoked"}),
        (HOUR, {"top": "ended", "sub": "ended", "later": "ended", "gone": "revoked", "orphan": "revoked"}),
        # A clock that is behind the machine brings nothing back.
        (-HOUR, {"top": "valid", "sub": "valid", "later": "pending", "gone": "revoked", "orphan": "revoked"}),
    ],
)
def test_status(machine, at, statuses):
    listed = reads(machine, at)["grants"]({})
    assert {item["id"]: item["status"] for item in listed["grants"]} == statuses
    assert listed["next"] is None


def test_one_says_what_it_came_of(machine):
    found = reads(machine)["grant"]({"id": "sub"})
    assert (found["above"], found["parent"]) == (["top"], "top")
    assert reads(machine)["grant"]({"id": "gone"})["revoked"]["reason"] == "why"


def test_pages_are_bounded(machine, monkeypatch):
    monkeypatch.setattr(module, "FRAME_BYTES", 1)
    page = reads(machine)["grants"]({})
    assert ([item["id"] for item in page["grants"]], page["next"]) == (["gone"], "gone")
    page = reads(machine)["grants"]({"after": "gone", "holder": 'Agent::"a"'})
    assert ([item["id"] for item in page["grants"]], page["next"]) == (["later"], "later")


@pytest.mark.parametrize(
    ("what", "params"),
    [
        ("grants", {"after": 3}),
        ("grants", {"holder": "x"}),
        ("grants", {"holder": 3}),
        ("grant", {}),
        ("grant", {"id": "none"}),
        ("boundaries", {"domain": "moon"}),
        ("boundaries", {"domain": ["root"]}),
        ("boundaries", {"after": None}),
    ],
)
def test_unusable_parameters(machine, what, params):
    with pytest.raises(InputError):
        reads(machine)[what](params)
