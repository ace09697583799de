"""Policies, ready to decide: parsed once, filed by head, given only the entities they can look into.

The rules of a decision:

1. `allow` if and only if Cedar says Allow **and** reports no evaluation error. Cedar skips a policy that fails to
   evaluate; when that is a `forbid`, its own answer would fail open.
2. A request that does not fit the schema is `invalid`; a failure of any kind is `error`. Neither is an allow.
3. What is left out (policies whose head cannot match, entities out of reach) never changes a decision.
4. A remembered slice is used only while every lookup that made it still gives the same entity.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from govraft.core.model import limits
from govraft.core.model.request import Request
from govraft.core.policy import engine, hazards, slicing
from govraft.core.policy.bounded_cache import BoundedCache
from govraft.core.policy.buckets import Buckets, keys_of
from govraft.core.policy.demands import Demands, read_demands
from govraft.core.policy.scopes import Reach, Scope, UidPair, read_reach, read_scope
from govraft.core.policy.slicing import Entity
from govraft.errors import InputError

__all__ = ["CompiledPolicies", "Decision", "PolicyCompileError"]

_PARTS = ("principal", "action", "resource")
_SCALARS = frozenset({bool, str})
# Cedar's errors quote the context: in one order, or the same question would be answered in other words.
_encode = msgspec.json.Encoder(order="deterministic").encode


class PolicyCompileError(InputError):
    """A policy bundle that cannot be put to use. `code` is `policy_invalid`, or that of a hazard."""

    default_code = "policy_invalid"


class Decision(msgspec.Struct, frozen=True):
    """What the policies say to one request.

    Attributes:
        effect: `allow`; `deny` (nothing permits it, or something forbids it); `error` (a policy or the engine failed);
            `invalid` (the request does not fit the schema).
        policies: Ids of the policies that determined it: content digests, sorted.
        errors: One line each, for people.
    """

    effect: Literal["allow", "deny", "error", "invalid"]
    policies: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()


class _Policy(NamedTuple):
    text: str
    tree: dict[str, Any]
    scope: Scope
    reach: Reach
    demands: Demands


class _Prepared(NamedTuple):
    """Everything about a request that does not depend on the scalars of its context."""

    question: dict[str, Any]
    candidates: frozenset[str]
    entities: engine.EntitySet
    consulted: tuple[tuple[str, Entity | None], ...]


_SliceKey = tuple[object, str, str, str, tuple[UidPair, ...]]


class _Caches:
    """What has been put together for earlier requests.

    Attributes:
        policy_sets: By ids of policies, which name their content: the same ones are the same in every set.
        slices: Each holds for one set of policies only; its key begins with that set's token.
    """

    def __init__(self) -> None:
        self.policy_sets: BoundedCache[frozenset[str], engine.PolicySet] = BoundedCache(
            count_max=limits.SLICES_CACHED, weight_max=limits.POLICY_SETS_CACHED_POLICIES
        )
        self.slices: BoundedCache[_SliceKey, _Prepared] = BoundedCache(
            count_max=limits.SLICES_CACHED, weight_max=limits.SLICES_CACHED_ENTITIES
        )


class CompiledPolicies:
    """A schema and policies, compiled. Bound to one thread; holds bounded caches and no other state.

    Sets that inherit from each other share their caches, so that many of them take no more room than one.

    Attributes:
        schema_text, schema: As given, and parsed.
        policies: Each policy's text, tree, head and reach, by its id.
    """

    def __init__(
        self,
        schema_text: str,
        schema: engine.Schema,
        policies: Mapping[str, _Policy],
        above: CompiledPolicies | None = None,
    ) -> None:
        """Use `compile`."""
        self.schema_text = schema_text
        self.schema = schema
        self.policies = dict(policies)
        self._attributes = frozenset().union(*(policy.reach.attributes for policy in policies.values()))
        scopes = {policy_id: policy.scope for policy_id, policy in policies.items()}
        self._buckets = Buckets(scopes, engine.action_parents(schema))
        self.caches: _Caches = above.caches if above is not None else _Caches()
        self._token = object()

    @classmethod
    def compile(
        cls,
        schema: str,
        policies: Mapping[str, str],
        *,
        previous: CompiledPolicies | None = None,
        above: CompiledPolicies | None = None,
    ) -> CompiledPolicies:
        """Compile a bundle.

        Args:
            schema: In Cedar syntax.
            policies: Text of each policy by its id, the SHA-256 of the text in hex.
            previous: An earlier bundle, whose work on unchanged policies is used again.
            above: The set of the domain above, under the same schema: what it forbids, this set forbids too.

        Raises:
            PolicyCompileError: Anything about the bundle is wrong; the message names the policy.
        """
        inherited = above.forbids if above is not None else {}
        count = len(policies.keys() | inherited.keys())
        if count > limits.POLICIES:
            raise PolicyCompileError(f"{count} policies are more than {limits.POLICIES}", code="limit_exceeded")
        if above is not None and above.schema_text != schema:
            raise PolicyCompileError("the domain above has another schema")
        try:
            hazards.scan_schema(schema)
            known = previous.policies if previous is not None else {}
            same_schema = previous is not None and previous.schema_text == schema
            handle = previous.schema if previous is not None and same_schema else None
            handle = handle or (above.schema if above is not None else engine.parse_schema(schema))
            own = {
                policy_id: known[policy_id]
                if policy_id in known and known[policy_id].text == text
                else _parse(policy_id, text)
                for policy_id, text in policies.items()
            }
            _load({policy_id: policy for policy_id, policy in own.items() if policy_id not in known})
            checked = known if same_schema else {}
            _validate({policy_id: policy for policy_id, policy in own.items() if policy_id not in checked}, handle)
            # SAFETY: a domain can narrow what is allowed above it, never widen it.
            # test_policy_inheritance.py::test_the_effective_set_decides_as_each_set_by_itself
            return cls(schema, handle, {**own, **inherited}, above)
        except PolicyCompileError:
            raise
        except InputError as error:
            raise PolicyCompileError(str(error), code=_code(error)) from error

    @functools.cached_property
    def forbids(self) -> Mapping[str, _Policy]:
        """What a domain below inherits: all policies but permits, by their ids."""
        return {name: policy for name, policy in self.policies.items() if policy.tree.get("effect") != "permit"}

    def __len__(self) -> int:
        """How many policies."""
        return len(self.policies)

    def action_groups(self, action: str) -> tuple[str, ...]:
        """Canonical uids of the action groups that hold an action, directly or through others.

        Raises:
            DecodeError: Not a uid.
        """
        return tuple(sorted(slicing.uid_text(group) for group in self._buckets.groups_of(slicing.uid_pair(action))))

    def demands(self, policy_id: str) -> Demands:
        """What a policy demands besides what its text says. Raises `KeyError` for one that is not in here."""
        return self.policies[policy_id].demands

    def evaluate(self, request: Request, entities: Mapping[str, Entity]) -> Decision:
        """Decide one request. Never raises for anything that a request or an entity may hold.

        Args:
            request: What is asked.
            entities: All entities by canonical uid. Values are compared by identity first: an entity that changes
                must be another object.
        """
        try:
            question = {"context": _encode_context(request.context)}
            prepared = self._prepare(request, entities)
            question.update(prepared.question)
            policies = self._policy_set(prepared.candidates)
            answer = engine.ask(question, policies, prepared.entities, self.schema)
        except _InvalidRequestError as error:
            return Decision("invalid", errors=(str(error),))
        except InputError as error:
            return Decision("error", errors=(str(error),))
        return _decide(answer)

    def _prepare(self, request: Request, entities: Mapping[str, Entity]) -> _Prepared:
        if not (type(request.principal) is type(request.action) is type(request.resource) is str):
            raise _InvalidRequestError("principal, action and resource must be text")
        context = request.context
        linked = slicing.references(context, self._attributes) if _has_structure(context) else ()
        key: _SliceKey = (self._token, request.principal, request.action, request.resource, tuple(sorted(linked)))
        prepared = self.caches.slices.get(key)
        # SAFETY: an outdated slice decides on old attributes; test_policy_compiled.py::test_changed_entity_is_seen.
        if prepared is None or not slicing.still_holds(prepared.consulted, entities):
            prepared = self._slice(request, linked, entities)
            self.caches.slices.put(key, prepared, weight=len(prepared.consulted))
        return prepared

    def _slice(self, request: Request, linked: Iterable[UidPair], entities: Mapping[str, Entity]) -> _Prepared:
        principal, action, resource = (_parse_uid(request, part) for part in _PARTS)
        candidates = self._buckets.candidates(
            keys_of(principal, slicing.ancestors_of(principal, entities)),
            action,
            keys_of(resource, slicing.ancestors_of(resource, entities)),
        )
        literals = (self.policies[policy_id].reach.literals for policy_id in candidates)
        starts = {principal, resource}.union(linked, *literals)
        part = slicing.slice_entities(starts, self._attributes, entities)
        uids = zip(_PARTS, (principal, action, resource), strict=True)
        return _Prepared(
            question={name: {"type": uid[0], "id": uid[1]} for name, uid in uids},
            candidates=candidates,
            entities=engine.parse_entities(part.document, self.schema),
            consulted=part.consulted,
        )

    def _policy_set(self, candidates: frozenset[str]) -> engine.PolicySet:
        found = self.caches.policy_sets.get(candidates)
        if found is None:
            found = engine.parse_policies(
                {policy_id: self.policies[policy_id].tree for policy_id in sorted(candidates)}
            )
            self.caches.policy_sets.put(candidates, found, weight=len(candidates) + 1)
        return found


class _InvalidRequestError(InputError):
    """The request itself is at fault."""


def _parse(policy_id: str, text: str) -> _Policy:
    if hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest() != policy_id:
        raise PolicyCompileError(f"`{policy_id[:64]}` is not the SHA-256 of its policy: compute it from the exact text")
    try:
        hazards.scan_policy(text)
        tree = engine.policy_tree(text)
        demands = read_demands(tree)
    except InputError as error:
        raise PolicyCompileError(f"policy `{policy_id[:12]}`: {error}", code=_code(error)) from error
    return _Policy(text, tree, read_scope(tree), read_reach(tree), demands)


def _load(policies: Mapping[str, _Policy]) -> None:
    """Make sure at once that the engine takes what it will be given later; on a failure, name the culprit."""
    try:
        engine.parse_policies({policy_id: policy.tree for policy_id, policy in policies.items()})
    except engine.EngineError:
        for policy_id, policy in policies.items():
            try:
                engine.parse_policies({policy_id: policy.tree})
            except engine.EngineError as error:
                advice = "if it chains more than some 50 operators, use a set or split it"
                raise PolicyCompileError(f"policy `{policy_id[:12]}`: {error}: {advice}") from error
        raise


def _validate(policies: Mapping[str, _Policy], schema: engine.Schema) -> None:
    """Type-check together what is new; on a failure, alone, so as to name the culprit."""
    if not policies or not engine.validate("\n".join(policy.text for policy in policies.values()), schema):
        return
    for policy_id, policy in policies.items():
        if errors := engine.validate(policy.text, schema):
            raise PolicyCompileError(f"policy `{policy_id[:12]}` does not fit the schema: {errors[0]}")
    raise PolicyCompileError("the policies do not fit the schema together: check their annotations")


def _code(error: InputError) -> str:
    return error.code if isinstance(error, hazards.HazardError) else PolicyCompileError.default_code


def _has_structure(context: Mapping[str, Any]) -> bool:
    return any(type(value) is dict for value in context.values())


def _encode_context(context: dict[str, Any]) -> str:
    try:
        for value in context.values():
            if type(value) not in _SCALARS:
                _scan_context(context)
                break
        encoded = _encode(context)
    except (InputError, AttributeError, TypeError, ValueError, RecursionError) as error:
        raise _InvalidRequestError(f"context cannot be used: {error}") from error
    if len(encoded) > limits.REQUEST_BYTES:
        raise _InvalidRequestError(f"context is larger than {limits.REQUEST_BYTES} bytes: send less")
    return encoded.decode()


def _scan_context(context: dict[str, Any]) -> None:
    try:
        hazards.scan_value(context, values_max=limits.CONTEXT_VALUES)
    except hazards.HazardError:
        # A record of the decision may hold the context in another order, and must come to the same words.
        hazards.scan_value(context, values_max=limits.CONTEXT_VALUES, is_sorted=True)
        raise


def _parse_uid(request: Request, part: str) -> UidPair:
    try:
        return slicing.uid_pair(getattr(request, part))
    except InputError as error:
        raise _InvalidRequestError(f"{part} cannot be used: {error}") from error


def _decide(answer: engine.Answer) -> Decision:
    if not answer.decided:
        return Decision("invalid", errors=answer.errors)
    policies = tuple(sorted(answer.policies))
    # SAFETY: Cedar skips an erroring forbid; test_policy_compiled.py::test_erroring_forbid_denies fails without this.
    if answer.allowed and not answer.errors:
        return Decision("allow", policies)
    if answer.allowed or (answer.errors and not policies):
        return Decision("error", policies, answer.errors)
    return Decision("deny", policies, answer.errors)
