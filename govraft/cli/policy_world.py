"""Policies to try out, and the world to try them in: the active ones and the entities of a node, or those of files."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from govraft.cli.entity_files import EntityFiles, read_entities
from govraft.cli.input_files import read_text
from govraft.cli.nodes import choose_client, field_of, read_pages
from govraft.cli.policy_texts import parse_policies, read_policies
from govraft.cli.settings import Settings
from govraft.client.client import Client
from govraft.core.decision.evaluator import ask_policies
from govraft.core.decision.finding import Finding, denied
from govraft.core.decision.policy_shelf import Active, Effective, PolicyShelf
from govraft.core.machine.machine import Machine
from govraft.core.machine.records import Entity, PolicyBundle
from govraft.core.model.ids import ROOT_DOMAIN, canonical_uid
from govraft.core.model.reasons import Reason
from govraft.core.model.request import Request
from govraft.core.policy.demands import NO_DEMANDS
from govraft.errors import DecodeError, GovraftError, InputError

__all__ = ["Candidate", "CandidateShelf", "PolicyWorld", "Tried", "active_bundle", "open_world", "read_candidate"]

_PAGE = 1_000


class Candidate(NamedTuple):
    """Policies that are not published, in place of what a domain has activated.

    Attributes:
        domain: Whose they are to be.
        policies: Text by id.
        schema: In place of the active one, for the root domain; None keeps that.
    """

    domain: str
    policies: Mapping[str, str]
    schema: str | None = None

    def over(self, active: Active) -> Active:
        """What is active, with the candidate in its place."""

        def find(domain: str) -> PolicyBundle | None:
            if domain != self.domain:
                return active(domain)
            root = active(ROOT_DOMAIN)
            schema = self.schema if self.schema is not None or root is None else root.schema
            if schema is None:
                return None
            digest = "candidate " + hashlib.sha256(schema.encode()).hexdigest()
            return PolicyBundle(0, digest, schema if domain == ROOT_DOMAIN else "", dict(self.policies))

        return find


class CandidateShelf(PolicyShelf):
    """The effective sets of a machine's domains, if the candidate were active."""

    def __init__(self, candidate: Candidate) -> None:
        super().__init__()
        self._candidate = candidate

    def of(self, machine: Machine, domain: str) -> Effective:
        """As `PolicyShelf.of`."""
        state = machine.state
        return self.effective(state.domains.path(domain), self._candidate.over(state.policies.active_bundle))


class Tried(NamedTuple):
    """What the policies say to a request.

    Attributes:
        finding: Of the policies alone.
        is_conditional: They allow, but every permit demands something else too, which is not asked here.
    """

    finding: Finding
    is_conditional: bool = False


class PolicyWorld:
    """A tree of domains, what is active in each, and entities. Asks policies alone: no marks, grants or boundaries."""

    def __init__(self, paths: Mapping[str, tuple[str, ...]], active: Active, entities: Mapping[str, Entity]) -> None:
        """Give each domain's path, from itself up to the root, what is active, and the entities by canonical uid."""
        self._paths = paths
        self._active = active
        self._entities = entities
        self._shelf = PolicyShelf()

    def effective(self, domain: str) -> Effective:
        """What decides in a domain."""
        return self._shelf.effective(self._paths.get(domain, ()), self._active)

    def ask(self, request: Request) -> Tried:
        """Decide a request in the domain of its resource."""
        try:
            resource = canonical_uid(request.resource)
        except DecodeError as error:
            return Tried(denied(Reason.REQUEST_INVALID, str(error)))
        entity = self._entities.get(resource)
        effective = self.effective(ROOT_DOMAIN if entity is None else entity.domain)
        compiled = effective.compiled
        if compiled is None:
            return Tried(denied(effective.reason, effective.message))
        finding = ask_policies(compiled, request, self._entities)
        demanding = [compiled.demands(name) != NO_DEMANDS for name in finding.policies]
        return Tried(finding, finding.is_allow and all(demanding))


def read_candidate(policies: tuple[Path, ...], schema: Path | None, domain: str) -> Candidate | None:
    """The candidate that a user names; None without policies.

    Raises:
        InputError: Something cannot be read, or does not go together.
    """
    if not policies:
        if schema is not None:
            raise InputError("`--schema` goes with `--policies`: give both")
        return None
    if schema is not None and domain != ROOT_DOMAIN:
        raise InputError("only the root domain has a schema: leave `--schema` or `--domain` out")
    text = None if schema is None else read_text(schema)
    texts = read_policies(policies)
    if text is not None:
        parse_policies(text, texts)
    return Candidate(domain, texts, text)


@contextlib.contextmanager
def open_world(settings: Settings, candidate: Candidate | None, entities: Path | None) -> Iterator[PolicyWorld]:
    """The world in which to try policies. No node is asked if the files say all there is to know.

    Args:
        settings: Say which node to ask.
        candidate: In place of what its domain has activated.
        entities: File of the only entities, of the candidate's domain; None: those of the node.

    Raises:
        InputError: The candidate cannot be used.
        GovraftError: No node answers, or not usably.
    """
    domain = ROOT_DOMAIN if candidate is None else candidate.domain
    files = None if entities is None else read_entities([entities], domain)
    if candidate is not None and candidate.schema is not None and files is not None:
        own = _of_files(files, candidate.schema, domain)
        yield _checked(PolicyWorld({ROOT_DOMAIN: (ROOT_DOMAIN,)}, candidate.over(lambda _: None), own), domain)
        return
    with choose_client(settings) as client:
        paths = _paths(client)
        active = _remembered(lambda name: active_bundle(client, name))
        if candidate is not None:
            if domain not in paths:
                raise InputError(f"domain `{domain}` does not exist; see `govraft domain list`", code="domain_unknown")
            active = candidate.over(active)
        root = active(ROOT_DOMAIN) if files is not None and files.actions else None
        own = _of_node(client) if files is None else _of_files(files, None if root is None else root.schema, domain)
        world = PolicyWorld(paths, active, own)
        yield world if candidate is None else _checked(world, domain)


def _checked(world: PolicyWorld, domain: str) -> PolicyWorld:
    """The world, if the candidate decides anything in it: else every request would be denied for that alone."""
    effective = world.effective(domain)
    if effective.compiled is None:
        raise InputError(effective.message, code="policy_invalid")
    return world


def _of_files(files: EntityFiles, schema: str | None, domain: str) -> dict[str, Entity]:
    files.check_actions(schema)
    return {item.uid: Entity(item.uid, item.attrs, tuple(sorted(item.parents)), domain) for item in files.entities}


def _of_node(client: Client) -> dict[str, Entity]:
    found = {}
    for item in read_pages(client, "entities", "entities", _PAGE):
        uid, attrs = field_of(item, "uid", str), field_of(item, "attrs", dict)
        found[uid] = Entity(uid, attrs, tuple(field_of(item, "parents", list)), field_of(item, "domain", str))
    return found


def _paths(client: Client) -> dict[str, tuple[str, ...]]:
    listed = client.read("domains")
    if not isinstance(listed, list):
        raise GovraftError("the node's answer lists no domains", code="answer_invalid")
    return {field_of(item, "id", str): tuple(reversed(field_of(item, "path", list))) for item in listed}


def active_bundle(client: Client, domain: str) -> PolicyBundle | None:
    """What a domain has activated, and nothing of what it inherits; None for nothing."""
    try:
        found = client.read("policy", domain=domain)
    except InputError as error:
        if error.code == "policy_unknown":
            return None
        raise
    schema = field_of(found, "schema", str) if domain == ROOT_DOMAIN else ""
    version, digest = field_of(found, "version", int), field_of(found, "digest", str)
    return PolicyBundle(version, digest, schema, field_of(found, "policies", dict))


def _remembered(find: Active) -> Active:
    known: dict[str, PolicyBundle | None] = {}

    def remember(domain: str) -> PolicyBundle | None:
        if domain not in known:
            known[domain] = find(domain)
        return known[domain]

    return remember
