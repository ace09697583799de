"""Domains, entities and marks: who may change and stop what, and whose policies decide."""

from __future__ import annotations

from mutant import Mutant

__all__ = ["SCOPING_MUTANTS"]

_MACHINE = "govraft/core/machine"
_DECISION = "govraft/core/decision"
_UNIT = "tests/unit/core/machine"
_DECIDED = "tests/unit/core/decision"
_COMPILED = "govraft/core/policy/compiled.py"
_SHELF_TESTS = (f"{_DECIDED}/test_policy_shelf.py", f"{_DECIDED}/test_domain_decisions.py")
_ENTITIES = f"{_MACHINE}/entities.py"
_ENTITY_TESTS = (f"{_UNIT}/test_domain_entities.py",)
_DOMAIN_TESTS = (f"{_UNIT}/test_domains.py",)

SCOPING_MUTANTS = (
    Mutant(
        "permits-inherited",
        "a domain never inherits a permit",
        _COMPILED,
        'if policy.tree.get("effect") != "permit"}',
        "if policy.tree}",
        _SHELF_TESTS,
    ),
    Mutant(
        "forbids-lost-below",
        "what is forbidden above is forbidden below",
        f"{_DECISION}/policy_shelf.py",
        "                above=None if above is None else above.compiled,\n",
        "                above=None,\n",
        _SHELF_TESTS,
    ),
    Mutant(
        "defect-above-ignored",
        "what does not compile above denies below",
        f"{_DECISION}/policy_shelf.py",
        "        if above is not None and above.compiled is None:\n            return above\n",
        "        if above is not None and above.compiled is None:\n            above = None\n",
        _SHELF_TESTS,
    ),
    Mutant(
        "set-of-yesterday-decides",
        "an effective set is made of what is active now, all along the path",
        f"{_DECISION}/policy_shelf.py",
        "if shelved is None or shelved.digests != digests:",
        "if shelved is None or shelved.digests[0] != digests[0]:",
        _SHELF_TESTS,
    ),
    Mutant(
        "domain-without-policies-inherits-them",
        "a domain that has activated nothing permits nothing",
        f"{_DECISION}/policy_shelf.py",
        "for domain in (ROOT_DOMAIN, path[0]):",
        "for domain in (ROOT_DOMAIN,):",
        _SHELF_TESTS,
    ),
    Mutant(
        "mark-on-a-domain-above-ignored",
        "stopping a domain stops all below it",
        f"{_DECISION}/evaluator.py",
        "    for domain in machine.state.domains.path(domain_of(machine, resource)):\n",
        "    for domain in machine.state.domains.path(domain_of(machine, resource))[:1]:\n",
        (f"{_DECIDED}/test_decision_marks.py",),
    ),
    Mutant(
        "marked-permit-permits",
        "an allow rests on a permit that nothing marks",
        f"{_DECISION}/marks.py",
        "left = tuple(policy for policy, mark in marks.items() if mark is None)",
        "left = tuple(marks)",
        (f"{_DECIDED}/test_decision_marks.py",),
    ),
    Mutant(
        "parents-outside-the-domain",
        "nobody joins a group of another domain",
        _ENTITIES,
        "if place is None or domain not in state.domains.path(place):",
        "if place is None:",
        _ENTITY_TESTS,
    ),
    Mutant(
        "unregistered-parents-joined",
        "nobody joins a group that does not exist yet",
        _ENTITIES,
        "if place is None or domain not in state.domains.path(place):",
        "if place is not None and domain not in state.domains.path(place):",
        _ENTITY_TESTS,
    ),
    Mutant(
        "claimed-names-put",
        "nobody becomes what other domains speak of",
        _ENTITIES,
        "        if any(map(is_foreign, users)):\n",
        "        if not users:\n",
        _ENTITY_TESTS,
    ),
    Mutant(
        "holders-of-grants-put",
        "nobody becomes the holder of another domain's grant",
        _ENTITIES,
        "        users.update(grants.grants[name].domain for name in grants.of_holder(uid))\n",
        "",
        ("tests/security/test_review_issue_governance.py",),
    ),
    Mutant(
        "names-in-policies-put",
        "nobody becomes what other domains' policies name",
        _ENTITIES,
        "            users.update(state.policies.naming(uid))\n",
        "            users.update(())\n",
        _ENTITY_TESTS,
    ),
    Mutant(
        "entities-taken-from-other-domains",
        "replacing an entity takes the operators of where it is",
        _ENTITIES,
        "return _requires_of(state, (fields.uid for fields in command.entities), [command.domain])",
        "return _requires_of(state, (), [command.domain])",
        _ENTITY_TESTS,
    ),
    Mutant(
        "domain-taken-from-under-its-parent",
        "a move takes the roots above the old and the new parent",
        f"{_MACHINE}/domains.py",
        "return Requirement(Role.ROOT, state.domains.common([domain.parent, command.parent]))",
        "return Requirement(Role.ROOT, command.parent)",
        _DOMAIN_TESTS,
    ),
    Mutant(
        "domain-moved-below-itself",
        "the tree of domains has no cycle",
        f"{_MACHINE}/domains.py",
        "    if command.id in above:\n",
        "    if command.id == command.parent:\n",
        _DOMAIN_TESTS,
    ),
    Mutant(
        "move-leaves-a-role-unable",
        "moving a domain leaves every role able to act",
        f"{_MACHINE}/domains.py",
        "    refused = check_roles_able(state, path=path)\n",
        "    refused = check_roles_able(state)\n",
        _DOMAIN_TESTS,
    ),
    Mutant(
        "domain-removed-with-its-contents",
        "a domain is removed only when nothing is left in it",
        f"{_MACHINE}/domains.py",
        "left = next(_contents(state, command.id, context.time), None)",
        "left = next(iter(()), None)",
        _DOMAIN_TESTS,
    ),
    Mutant(
        "removed-name-reused-at-once",
        "what was signed for a removed domain reaches no other one",
        f"{_MACHINE}/domains.py",
        "if view.resting.get(command.id, 0) > context.time:",
        "if view.resting.get(command.id, 0) < 0:",
        _DOMAIN_TESTS,
    ),
    Mutant(
        "wider-mark-lifted-from-below",
        "a narrower author never lifts a wider one's mark",
        f"{_MACHINE}/enforcement.py",
        "        domains += [domain, *(marks[name].domain for name in _ENDED_BY_RELEASE if name in marks)]\n",
        "        domains += [domain]\n",
        (f"{_UNIT}/test_enforcement.py",),
    ),
    Mutant(
        "operators-end-an-isolation",
        "only `root` releases what is isolated",
        f"{_MACHINE}/enforcement.py",
        "return Requirement(Role.ROOT if is_isolated else Role.OPERATOR, state.domains.common(domains))",
        "return Requirement(Role.OPERATOR, state.domains.common(domains))",
        (f"{_UNIT}/test_enforcement.py",),
    ),
    Mutant(
        "invalidation-ended-from-below",
        "who acts further down does not declare sound what was declared unsound above",
        f"{_MACHINE}/enforcement.py",
        "or within in state.domains.path(mark.domain)):",
        "or within):",
        (f"{_UNIT}/test_invalidation.py",),
    ),
    Mutant(
        "lists-signed-as-for-one-target",
        "nobody stops more by a list than one by one",
        f"{_MACHINE}/enforcement.py",
        "_common(state, [_domain_of(state, command.kind, name) for name in command.ids])",
        "_domain_of(state, command.kind, command.ids[0])",
        (f"{_UNIT}/test_enforcement_lists.py",),
    ),
    Mutant(
        "lists-before-their-rules",
        "what a number of the rules does not know stays what it was",
        f"{_MACHINE}/admission.py",
        "    if rules_needed(command) > rules:\n",
        "    if rules_needed(command) > rules + 1:\n",
        (f"{_UNIT}/test_numbered_rules.py",),
    ),
    Mutant(
        "rules-raised-by-any-step",
        "the rules rise one by one",
        f"{_MACHINE}/rules.py",
        "    if command.to != state.rules + 1:\n",
        "    if command.to <= state.rules:\n",
        (f"{_UNIT}/test_numbered_rules.py",),
    ),
    Mutant(
        "applied-by-unknown-rules",
        "nothing is applied by rules that are not known",
        f"{_MACHINE}/machine.py",
        "        require(self.knows_rules, explain_unknown_rules(self.rules))\n",
        "",
        (f"{_UNIT}/test_numbered_rules.py",),
    ),
    Mutant(
        "allows-beyond-unknown-rules",
        "a node that cannot apply what is committed denies",
        "govraft/node/gate.py",
        "        if not self._machine.knows_rules:\n",
        "        if False:\n",
        ("tests/unit/node/test_unknown_rules.py",),
    ),
    Mutant(
        "rules-raised-without-every-member",
        "the rules are raised when every member knows them",
        "govraft/node/member_changes.py",
        "if known.get(member.id, 0) < command.to]",
        "if known.get(member.id, command.to) < command.to]",
        ("tests/unit/node/test_unknown_rules.py",),
    ),
)
