// What nodes sign about one request: permits and denials (docs/formats.md §12).

import { compareText, hex, utf8 } from "./bytes.mjs";
import { digest } from "./digests.mjs";
import { DecodeError } from "./errors.mjs";
import { NODE_ID, TIME_MAX_MS } from "./genesis.mjs";
import { encodeJson, parseCanonicalJson } from "./json.mjs";
import { boolean, list, nullable, oneOf, record, text, whole } from "./shapes.mjs";
import { canonicalUid } from "./uids.mjs";

const PAYLOAD_BYTES_MAX = 131_072;
export const PERMIT_LIFE_MOST_MS = 5 * 60 * 1000;
const PERMIT_LIFE_LEAST_MS = 1000;
const REASONS = [
  ...["policy_divergence", "authorization_inconsistent", "runtime_state_fragmented", "governance_desynchronized"],
  ...["attestation_disagreement", "lineage_inconsistent", "unsigned_transition", "authority_conflict"],
  ...["quorum_unverifiable", "partition_ambiguous", "lease_expired", "leader_unconfirmed", "synchronizing"],
  ...["clock_unsafe", "isolated", "node_unreachable", "node_starting", "internal_error", "quarantined", "revoked"],
  ...["invalidated", "attestation_missing", "attestation_expired", "grant_missing", "grant_expired", "node_isolated"],
  ...["boundary_exceeded", "policy_denied", "policy_error", "request_invalid"],
];

const hexDigest = text({ pattern: /^[0-9a-f]{64}$/ });
const hexDigestOrNone = text({ pattern: /^(?:[0-9a-f]{64})?$/ });
const counted = whole({ least: 1, most: Number.MAX_SAFE_INTEGER });
const time = whole({ least: 1, most: TIME_MAX_MS });
const name = text({ least: 1, most: 256 });
const short = text({ most: 1024 });

const permitShape = record({
  cluster: hexDigest,
  epoch: counted,
  seq: counted,
  state_root: hexDigest,
  permit: hexDigest,
  decision: name,
  principal: text(),
  action: text(),
  resource: text(),
  context_digest: hexDigest,
  request_digest: hexDigest,
  policies: list(hexDigest),
  issued: time,
  not_after: time,
  single_use: boolean,
  audience: nullable(name),
});

const denialShape = record({
  cluster: hexDigest,
  epoch: counted,
  seq: whole({ least: 0, most: Number.MAX_SAFE_INTEGER }),
  state_root: hexDigestOrNone,
  node: text({ pattern: NODE_ID }),
  permit: nullable(hexDigest),
  request_digest: hexDigestOrNone,
  principal: short,
  action: short,
  resource: short,
  reason: oneOf(...REASONS),
  message: short,
  time,
  decision: text({ most: 256 }),
});

/** Decode a permit's payload. Throws DecodeError. */
export async function decodePermit(payload) {
  const statement = permitShape(parseCanonicalJson(payload, PAYLOAD_BYTES_MAX), "permit");
  const { permit, ...others } = statement;
  if (permit !== hex(await digest("permit", utf8(encodeJson(others))))) {
    throw new DecodeError("the permit's id is not that of its fields");
  }
  const life = statement.not_after - statement.issued;
  if (life < PERMIT_LIFE_LEAST_MS || life > PERMIT_LIFE_MOST_MS) throw new DecodeError("no permit lives that long");
  const { policies } = statement;
  if (!policies.every((id, place) => place === 0 || compareText(policies[place - 1], id) < 0)) {
    throw new DecodeError("`policies` must be sorted and distinct");
  }
  for (const uid of [statement.principal, statement.action, statement.resource]) {
    if (canonicalUid(uid) !== uid) throw new DecodeError("uids must be in canonical form");
  }
  return statement;
}

/** Decode a denial's payload. Throws DecodeError. */
export const decodeDenial = (payload) => denialShape(parseCanonicalJson(payload, PAYLOAD_BYTES_MAX), "denial");

/** Names a request, whatever the spelling of its uids. Throws DecodeError. */
export async function requestDigest({ principal, action, resource, context = {} }) {
  if (context === null || typeof context !== "object" || Array.isArray(context)) {
    throw new DecodeError("the context of a request must be an object");
  }
  const fields = {
    action: canonicalUid(action),
    context,
    principal: canonicalUid(principal),
    resource: canonicalUid(resource),
  };
  return hex(await digest("asked", utf8(encodeJson(fields))));
}
