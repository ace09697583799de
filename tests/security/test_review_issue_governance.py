"""Ways in which one scoped authority, one member or one text could take, stop or slow down what is not its own."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sim_cluster import SimCluster

from govraft.core.codec.canonical import pack
from govraft.core.codec.envelope import pae, seal
from govraft.core.codec.in_toto import decode_statement
from govraft.core.crypto.digests import digest
from govraft.core.decision.evaluator import evaluate
from govraft.core.decision.policy_shelf import PolicyShelf
from govraft.core.machine.entry import encode_entry
from govraft.core.machine.machine import Machine
from govraft.core.model import limits
from govraft.core.model.authority import Assignment, Role
from govraft.core.model.commands import (
    AuditAnchor,
    AuthorityAdd,
    AuthorityAssign,
    AuthorityRevoke,
    AuthorityRotate,
    BallotChoice,
    BoundarySet,
    DomainCreate,
    DomainRemove,
    EntityDelete,
    EntityFields,
    EntityPut,
    GrantIssue,
    Invalidate,
    NewKey,
    PermitRedeem,
    PolicyActivate,
    PolicyPublish,
    ProposalOpen,
    ProposalVote,
    Quarantine,
    Rate,
    Revoke,
    TargetKind,
    ThresholdSet,
    encode_command,
    payload_type,
    proposal_digest,
)
from govraft.core.model.request import Request
from govraft.core.model.units import WallMs
from govraft.core.policy.hazards import HazardError, scan_policy, scan_schema
from govraft.errors import DecodeError
from govraft.node.submissions import SUBMISSION_CHANNEL
from govraft.testing.evidence_sample import SAMPLE_REQUEST, EvidenceSample
from govraft.testing.sample import CREATED, SampleCluster, seeded_key

HOUR_MS = 3_600_000
SCHEMA = (
    "entity Group; entity Agent in [Group]; entity Tool in [Group]; "
    'action "run" appliesTo { principal: [Agent], resource: [Tool] };'
)
ADMINS, EVIL, TOOL = 'Group::"admins"', 'Agent::"evil"', 'Tool::"t"'


class World:
    """A cluster with a domain `leaf`, of which lea is root, operator, policy authority and attestor."""

    def __init__(self) -> None:
        self.sample = SampleCluster(attestors=2)
        self.machine = Machine(self.sample.genesis)
        self.time = CREATED + 1_000
        self.keys: dict[str, Ed25519PrivateKey] = {**self.sample.authority_keys, **self.sample.node_keys}
        self.keys["lea"] = seeded_key("authority lea")
        assert self.do(DomainCreate, "rita", "ruth", id="leaf", parent="root") == "applied"
        roles = tuple(
            Assignment(role, "leaf") for role in sorted((Role.ATTESTOR, Role.OPERATOR, Role.POLICY, Role.ROOT))
        )
        assert self.do(AuthorityAdd, "rita", "ruth", "lea", id="lea", public_key=self.public("lea"), assignments=roles)
        assert self.do(ThresholdSet, "rita", "ruth", role=Role.ROOT, domain="leaf", count=1) == "applied"

    def public(self, name: str) -> str:
        return base64.b64encode(self.keys[name].public_key().public_bytes_raw()).decode()

    def command(self, make: Any, /, **fields: Any) -> Any:
        return make(**{**self.sample.header(not_after=self.time + HOUR_MS), **fields})

    def submit(self, command: Any, *signers: str) -> str:
        kind, payload = payload_type(command), encode_command(command)
        keys = [self.keys[name] for name in signers]
        message = pae(kind, payload)
        envelope = seal(kind, payload, [(key.public_key().public_bytes_raw(), key.sign(message)) for key in keys])
        return self.machine.apply(encode_entry(WallMs(self.time), envelope)).outcome.code

    def do(self, make: Any, /, *signers: str, **fields: Any) -> str:
        return self.submit(self.command(make, **fields), *signers)

    def put(self, domain: str, *entities: tuple[str, tuple[str, ...]], by: str = "olga") -> str:
        fields = tuple(EntityFields(uid, {}, parents) for uid, parents in entities)
        return self.do(EntityPut, by, domain=domain, entities=fields)

    def publish(self, domain: str, *policies: str, by: str = "pat") -> str:
        latest = self.machine.state.policies.of(domain).latest
        first = latest is None
        return self.do(
            PolicyPublish,
            by,
            version=1 if latest is None else latest.version + 1,
            expected="" if latest is None else latest.digest,
            schema=SCHEMA if first and domain == "root" else None,
            policies=policies,
            removed=(),
            domain=domain,
        )

    def activate(self, domain: str, by: str = "pat") -> str:
        made = self.machine.state.policies.of(domain).latest
        assert made is not None
        return self.do(PolicyActivate, by, version=made.version, digest=made.digest, domain=domain)

    def grant(self, identifier: str, holder: str, by: str, domain: str = "root") -> str:
        return self.do(
            GrantIssue,
            by,
            id=identifier,
            holder=holder,
            actions=('Action::"run"',),
            resources=(TOOL,),
            not_before=1,
            not_after_grant=self.time + HOUR_MS,
            delegate=None,
            depth=0,
            domain=domain,
        )

    def reason(self, principal: str) -> str:
        request = Request(principal, 'Action::"run"', TOOL, {})
        found = evaluate(self.machine, PolicyShelf(), request, node_id="n1", wall=self.time)
        return "allow" if found.reason is None else found.reason.value


@pytest.fixture
def world() -> World:
    return World()


# Taking what is not one's own.


def test_nobody_becomes_the_holder_of_anothers_grant(world: World) -> None:
    world.publish("root", '@requires_grant("true") permit(principal, action == Action::"run", resource);')
    assert world.activate("root") == "applied"
    assert world.put("root", (TOOL, ())) == world.grant("g", ADMINS, "olga") == "applied"
    members = ((ADMINS, ()), (EVIL, (ADMINS,)))
    assert world.put("leaf", *members, by="lea") == "entity_claimed"
    assert world.reason(EVIL) == "grant_missing"
    # Whoever issued it may; and of a grant of one's own domain one may do so oneself.
    assert world.put("root", *members) == "applied"
    assert world.reason(EVIL) == "allow"
    assert world.grant("own", 'Group::"own"', "lea", "leaf") == "applied"
    assert world.put("leaf", ('Group::"own"', ()), by="lea") == "applied"


def test_a_ballot_of_a_replaced_key_does_not_count(world: World) -> None:
    body = {"kind": "subject", "id": EVIL, "reason": "x"}
    fields = {"command": "quarantine", "body": body, "epoch": 1, "expires": world.time + HOUR_MS}
    assert world.do(ThresholdSet, "rita", "ruth", role=Role.OPERATOR, count=2) == "applied"
    command = world.command(ProposalOpen, author="olga", sequence=1, **fields)
    assert world.submit(command, "olga") == "applied"
    digest = proposal_digest(command)
    world.keys["olga2"] = seeded_key("authority olga2")
    keys = (NewKey("olga", world.public("olga2")),)
    assert world.do(AuthorityRotate, "rita", "ruth", "olga2", keys=keys) == "applied"
    vote = {"proposal": digest, "choice": BallotChoice.APPROVE, "epoch": 1}
    assert world.do(ProposalVote, "oscar", voter="oscar", sequence=1, **vote) == "applied"
    assert digest in world.machine.state.proposals.open
    assert world.do(ProposalVote, "olga2", voter="olga", sequence=2, **vote) == "applied"
    assert world.machine.state.proposals.closed[digest].code == "applied"


def test_no_log_is_taken_up_again(world: World) -> None:
    def anchor(log: str, size: int, root: str) -> str:
        return world.do(AuditAnchor, "n1", node="n1", log=log * 32, size=size, root=root * 64, proof=())

    assert anchor("a", 1_000, "1") == anchor("b", 1, "3") == "applied"
    assert anchor("a", 5, "2") == anchor("a", 2_000, "2") == "anchor_inconsistent"
    assert anchor("c", 1, "4") == "applied"
    assert anchor("a", 5, "2") == anchor("b", 5, "2") == "anchor_inconsistent"
    records = world.machine.copy_records()
    leaf = world.machine.leaf_bytes(world.machine.seq) or b""
    restored = Machine.restored(
        world.sample.genesis,
        time=world.machine.time,
        records={name: dict(reversed(by_key.items())) for name, by_key in records.items()},
        lineage=world.machine.lineage.copy(),
        recent=[leaf],
    )
    assert set(restored.state.audit.anchors.former("n1")) == {"a" * 32, "b" * 32}
    assert dict(restored.anchors) == dict(world.machine.anchors)


def test_a_node_begins_only_so_many_logs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ANCHORED_LOGS", 3)
    codes = [
        world.do(AuditAnchor, "n1", node="n1", log=f"{log:032x}", size=1, root="1" * 64, proof=()) for log in range(4)
    ]
    assert codes == ["applied", "applied", "applied", "limit_exceeded"]
    assert world.do(AuditAnchor, "n2", node="n2", log="f" * 32, size=1, root="1" * 64, proof=()) == "applied"


# Permits that are shown after what they rest on was stopped.


class Redeeming(EvidenceSample):
    def redeem(self, **changes: Any) -> str:
        statement = self.permit_statement(single_use=True, seq=6, **changes)
        envelope = base64.b64encode(self.permit_envelope(statement)).decode()
        command = PermitRedeem(**self.sample.header(), node="n3", permit=envelope)
        kind, payload = payload_type(command), encode_command(command)
        signature = self.sign("n3", pae(kind, payload))
        data = seal(kind, payload, [(self.public_key("n3"), signature)])
        return self.apply_envelope(data, time=CREATED + 101_000).outcome.code


def test_a_domain_that_was_stopped_voids_its_permits() -> None:
    world = Redeeming()
    world.apply(Quarantine(**world.sample.header(), kind=TargetKind.DOMAIN, id="root", reason="x"), "olga")
    assert world.redeem() == "permit_void"


def test_a_deleted_resource_does_not_leave_the_domain_that_was_stopped() -> None:
    world = Redeeming()
    made = [
        (DomainCreate(**world.sample.header(), id="leaf", parent="root"), ("rita", "ruth")),
        (ThresholdSet(**world.sample.header(), role=Role.OPERATOR, domain="leaf", count=1), ("rita", "ruth")),
        (
            AuthorityAssign(**world.sample.header(), id="oscar", assignments=(Assignment(Role.OPERATOR, "leaf"),)),
            ("rita", "ruth"),
        ),
        (
            EntityPut(
                **world.sample.header(), domain="leaf", entities=(EntityFields(SAMPLE_REQUEST.resource, {}, ()),)
            ),
            ("olga",),
        ),
        (EntityDelete(**world.sample.header(), uids=(SAMPLE_REQUEST.resource,)), ("oscar",)),
        (Quarantine(**world.sample.header(), kind=TargetKind.DOMAIN, id="leaf", reason="x"), ("olga",)),
    ]
    for command, authors in made:
        assert world.apply(command, *authors).outcome.code == "applied"
    assert world.redeem() == "permit_void"


def test_policies_that_were_all_stopped_void_a_permit() -> None:
    world = Redeeming()
    texts = ("permit(principal, action, resource);", 'permit(principal, action, resource) when { "1" == "1" };')
    publish = PolicyPublish(**world.sample.header(), version=1, expected="", schema=SCHEMA, policies=texts, removed=())
    assert world.apply(publish, "pat").outcome.code == "applied"
    ids = tuple(sorted(hashlib.sha256(text.encode()).hexdigest() for text in texts))
    mark = Quarantine(**world.sample.header(), kind=TargetKind.POLICY, id=ids[0], reason="x")
    assert world.apply(mark, "olga").outcome.code == "applied"
    assert world.redeem(policies=ids[:1]) == "permit_void"
    assert world.redeem(policies=ids) == "applied"


# Using up what all need.


def test_no_domain_uses_up_what_all_need(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """At each of these limits the leaf is refused, and the root domain goes on."""
    state = world.machine.state
    spare = iter(range(1_000))

    def add(by: tuple[str, ...]) -> str:
        name = f"a{next(spare)}"
        world.keys[name] = seeded_key(name)
        roles = (Assignment(Role.OPERATOR, "leaf"),)
        return world.do(AuthorityAdd, *by, name, id=name, public_key=world.public(name), assignments=roles)

    def rotate(by: tuple[str, ...]) -> str:
        name = f"r{next(spare)}"
        world.keys[name] = seeded_key(name)
        key = world.public(name)
        done = world.do(AuthorityRotate, *by, name, keys=(NewKey("leaf-member", key),))
        return done

    world.keys["leaf-member"] = seeded_key("leaf-member")
    roles = (Assignment(Role.OPERATOR, "leaf"),)
    key = world.public("leaf-member")
    assert (
        world.do(AuthorityAdd, "lea", "leaf-member", id="leaf-member", public_key=key, assignments=roles) == "applied"
    )
    for number in range(8):
        assert world.put("leaf", (f'Tool::"{number}"', ()), by="lea") == "applied"

    def create(by: tuple[str, ...]) -> str:
        return world.do(DomainCreate, *by, id=f"d{next(spare)}", parent="leaf")

    def put(by: tuple[str, ...]) -> str:
        return world.put("leaf", (f'Agent::"{next(spare)}"', ()), by=by[0])

    def mark(by: tuple[str, ...]) -> str:
        target = next(f'Tool::"{n}"' for n in range(8) if f'mark/resource/Tool::"{n}"' not in state.entities.marks)
        return world.do(Revoke, by[0], kind=TargetKind.RESOURCE, id=target, reason="x")

    def lend(by: tuple[str, ...]) -> str:
        return world.grant(f"g{next(spare)}", EVIL, by[0], "leaf")

    def bound(by: tuple[str, ...]) -> str:
        return world.do(BoundarySet, by[0], id=f"b{next(spare)}", rate=Rate(1, 1), domain="leaf")

    roots, operators = ("rita", "ruth"), ("olga",)
    table: list[tuple[str, Callable[[], int], Callable[[tuple[str, ...]], str], tuple[str, ...]]] = [
        ("AUTHORITIES", lambda: len(state.authorities.by_id), add, roots),
        ("AUTHORITIES_EVER", lambda: len(state.authorities.by_id), add, roots),
        ("AUTHORITY_KEYS_RETIRED", lambda: len(state.authorities.retired), rotate, roots),
        ("DOMAINS", lambda: len(state.domains.domains), create, roots),
        ("ENTITIES", lambda: len(state.entities.entities), put, operators),
        ("MARKS", lambda: len(state.entities.marks), mark, operators),
        ("GRANTS", lambda: len(state.grants.grants), lend, operators),
        ("GRANTS_OF_HOLDER", lambda: len(state.grants.of_holder(EVIL)), lend, operators),
        ("BOUNDARIES", lambda: len(state.boundaries), bound, operators),
    ]
    for name, count, use, wider in table:
        with monkeypatch.context() as patch:
            patch.setattr(limits, name, 2 * (count() + 1))
            assert use(("lea",)) == "applied", name
            assert use(("lea",)) == "limit_exceeded", name
            assert use(wider) == "applied", name


def test_a_domain_lets_others_names_rest(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DOMAIN_NAMES_RESTING", 2)
    for name in ("x1", "x2"):
        assert world.do(DomainCreate, "lea", id=name, parent="leaf") == "applied"
    assert world.do(DomainRemove, "lea", id="x1") == "applied"
    assert world.do(DomainRemove, "lea", id="x2") == "limit_exceeded"
    assert world.do(DomainRemove, "rita", "ruth", id="x2") == "applied"


def test_who_floods_the_log_leaves_room_for_those_who_stop_him(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    known = world.machine.state.audit.commands
    monkeypatch.setattr(limits, "KNOWN_COMMANDS", 64)

    def flood(send: Callable[[], str], most: int) -> None:
        for _ in range(most - len(known)):
            assert send() != "limit_exceeded"
        before = len(known)
        assert before == most
        assert send() == "limit_exceeded"
        assert len(known) == before

    # A member, with anchors that are refused for what they say.
    flood(lambda: world.do(AuditAnchor, "n1", node="n1", log="a" * 32, size=1, root="1" * 64, proof=("AAAA",)), 32)
    # An authority of a leaf, then one of the root domain.
    flood(lambda: world.put("leaf", ("no uid", ()), by="lea"), 48)
    flood(lambda: world.put("root", ("no uid", ()), by="olga"), 56)
    assert world.do(AuthorityRevoke, "rita", "ruth", id="lea", reason="it floods the log") == "applied"
    flood(lambda: world.do(AuthorityRevoke, "rita", "ruth", id="lea", reason="again"), 64)


def test_one_member_leaves_places_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    sim = SimCluster()
    sim.run_until(sim.all_serving)
    monkeypatch.setattr(limits, "PENDING_SUBMITS_OF_ONE", 3)
    monkeypatch.setattr(limits, "PENDING_SUBMITS", 6)
    leader, liar = sim.leader.core, "node-3"
    identity = sim.nodes[liar].identity

    def anchor(number: int) -> bytes:
        header = sim.header(f"anchor-{number}")
        command = AuditAnchor(**header, node=liar, log=f"{number:032x}", size=1, root="1" * 64, proof=())
        kind, payload = payload_type(command), encode_command(command)
        return seal(kind, payload, [(identity.public_key, identity.sign(pae(kind, payload)))])

    for envelope in (*map(anchor, range(8)), sim.quarantine("theirs")):
        leader.on_frame(liar, SUBMISSION_CHANNEL, pack({"digest": digest("envelope", envelope), "envelope": envelope}))
    sim.step(300)
    assert leader.machine.has_marks


# Keeping everybody busy.


def test_no_text_costs_the_square_of_its_length() -> None:
    """A string without an end whose end is looked for from each of its quotes took 16 and 39 seconds."""
    endless = '"' + '\\"' * 24_000
    began = time.perf_counter()
    with pytest.raises(HazardError):
        scan_schema(endless)
    with pytest.raises(DecodeError):
        decode_statement(endless.encode())
    with pytest.raises(HazardError):
        scan_policy(endless[: limits.POLICY_BYTES])
    assert time.perf_counter() - began < 1.0


def test_brackets_in_strings_do_not_nest() -> None:
    deep = "[" * 100
    with pytest.raises(DecodeError, match="nested"):
        decode_statement(b'{"a":"\\\\",' + b'"b":' + deep.encode())
    with pytest.raises(DecodeError, match="json"):
        decode_statement(b'{"a":"\\"' + deep.encode())


class Unsearched(tuple[bytes, ...]):
    """What it holds may not be searched for."""

    __slots__ = ()

    def __contains__(self, item: object) -> bool:
        raise AssertionError("a version was searched")


def test_names_are_looked_up_without_searching_versions(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an entry costs must not grow with what was published: searched for, each name took all versions of all."""
    uids = [f'Group::"{number}"' for number in range(40)]
    named = " ".join(f"|| principal in {uid}" for uid in uids)
    texts = [f'permit(principal, action, resource) when {{ "{n}" == "x" {named} }};' for n in range(40)]
    for start in range(0, len(texts), 20):
        assert world.publish("leaf", *texts[start : start + 20], by="lea") == "applied"
    policies = world.machine.state.policies
    assert policies.naming(uids[0]) == policies.naming(*uids) == ("leaf",)
    assert policies.naming('Group::"x"') == policies.naming() == ()

    records = policies.of("leaf").versions
    for number, record in list(records.items()):
        monkeypatch.setitem(records, number, msgspec.structs.replace(record, policy_ids=Unsearched(record.policy_ids)))
    elsewhere = tuple((uid, (ADMINS,)) for uid in uids)
    assert world.put("leaf", *elsewhere, by="lea") == "parent_outside"
    assert world.put("leaf", *((uid, ()) for uid in uids), by="lea") == "applied"
    wanted = policies.of("leaf").latest
    assert wanted is not None
    assert policies.domains_of(wanted.policy_ids[0]) == ("leaf",)


# Texts that mean one thing to us and another one to Cedar, or to another Python.


def test_an_annotation_named_like_an_effect_is_none(world: World) -> None:
    permit = '@ // a comment\n forbid("x") permit(principal, action, resource);'
    forbid = '@ // a comment\n permit("x") forbid(principal, action, resource);'
    assert world.publish("root", permit, forbid) == "applied"
    ids = {text: name for name, text in world.machine.state.policies._policies.items()}
    assert world.do(Quarantine, "olga", kind=TargetKind.POLICY, id=ids[permit], reason="x") == "applied"
    assert world.do(Quarantine, "olga", kind=TargetKind.POLICY, id=ids[forbid], reason="x") == "target_invalid"


def test_what_a_word_is_does_not_depend_on_unicode_tables() -> None:
    # As some letters are younger than some versions of Python, none but those of ASCII can be a part of a word.
    deep = "permit(principal, action, resource) when { " + "if\u00e9 " * (limits.POLICY_BRACKET_DEPTH + 1) + "};"
    with pytest.raises(HazardError) as found:
        scan_policy(deep)
    assert found.value.code == "policy_too_deep"


def test_marks_of_policies_end_only_by_those_that_hold_them(world: World) -> None:
    text = 'permit(principal, action, resource) when { "1" == "x" };'
    assert world.publish("root", text) == world.activate("root") == "applied"
    (name,) = world.machine.state.policies._policies
    assert world.do(Invalidate, "olga", kind=TargetKind.POLICY, id=name, reason="x") == "applied"
    assert world.publish("leaf", "permit(principal, action, resource);", by="lea") == "applied"
    assert world.activate("leaf", by="lea") == "applied"
    assert "invalidated" in world.machine.marks("policy", name)
    assert world.publish("root", "permit(principal, action, resource);") == world.activate("root") == "applied"
    assert "invalidated" not in world.machine.marks("policy", name)
