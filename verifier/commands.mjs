// The shape of every command (docs/formats.md §4). What a command does to the state is not known here.

import { compareText } from "./bytes.mjs";
import { DecodeError } from "./errors.mjs";
import { AUTHORITY_ID, NODE_ID, ROLES, TIME_MAX_MS } from "./genesis.mjs";
import { parseCanonicalJson } from "./json.mjs";
import { anything, list, mapOf, nullable, oneOf, record, text, whole } from "./shapes.mjs";

const PAYLOAD_BYTES_MAX = 131_072;
const TYPE = /^application\/vnd\.govraft\.([a-z_.]+)\.v1\+json$/;

const hexDigest = text({ pattern: /^[0-9a-f]{64}$/ });
const node = text({ pattern: NODE_ID });
const authority = text({ pattern: AUTHORITY_ID });
const domain = text({ pattern: /^[a-z0-9][a-z0-9-]{0,62}$/ });
const name = text({ pattern: /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/ });
const base64 = text({ pattern: /^[A-Za-z0-9+/]*={0,2}$/ });
const time = whole({ least: 1, most: TIME_MAX_MS });
const positive = whole({ least: 1, most: 2n ** 53n });
const reason = text({ least: 1 });
const role = oneOf(...ROLES);
const texts = list(text());
const values = mapOf(anything);

const enforcement = [
  { kind: oneOf("subject", "resource", "action", "node", "policy", "attestation", "domain"), reason },
  { id: text(), targets: list(text(), { least: 1, most: 1000 }) },
  namesTargets,
];
const assignments = list(record({ role, domain }), { least: 1 });
const member = record({ id: node, public_key: base64, certificate: base64, address: text() });
const grant = {
  id: name,
  holder: text(),
  actions: list(text(), { least: 1, most: 64 }),
  resources: list(text(), { least: 1, most: 64 }),
  not_before: time,
  not_after_grant: time,
  delegate: nullable(authority),
  depth: whole({ least: 0, most: 16 }),
};
const minute = whole({ least: 0, most: 1440 });
const window = record({
  days: list(whole({ least: 0, most: 6 }), { least: 1, most: 7 }),
  start: minute,
  end: minute,
});
const rate = record({ count: whole({ least: 1, most: 1_000_000 }), seconds: whole({ least: 1, most: 86_400 }) });
const bounds = {
  subject: nullable(text()),
  action: nullable(text()),
  windows: list(window, { most: 64 }),
  regions: list(text({ least: 1, most: 256 }), { most: 64 }),
  rate: nullable(rate),
  level_max: nullable(whole({ least: 0, most: 1000 })),
};

// Fields, those that may be left out, and what else must hold.
const COMMANDS = {
  "policy.publish": [
    {
      version: positive,
      expected: text({ pattern: /^(?:[0-9a-f]{64})?$/ }),
      schema: nullable(text()),
      policies: texts,
      removed: list(hexDigest),
    },
    { domain },
  ],
  "policy.activate": [{ version: positive, digest: hexDigest }, { domain }],
  "entity.put": [
    { entities: list(record({ uid: text(), attrs: values, parents: texts }), { least: 1 }) },
    { domain },
  ],
  "entity.patch": [{ uid: text(), set: values, unset: texts, add_parents: texts, remove_parents: texts }],
  "entity.delete": [{ uids: list(text(), { least: 1 }) }],
  quarantine: enforcement,
  release: enforcement,
  isolate: enforcement,
  revoke: enforcement,
  invalidate: enforcement,
  "authority.add": [{ id: authority, public_key: base64, assignments }],
  "authority.assign": [{ id: authority, assignments }],
  "authority.rotate": [{ keys: list(record({ id: authority, public_key: base64 }), { least: 1 }) }],
  "authority.suspend": [{ id: authority, reason }],
  "authority.resume": [{ id: authority, reason }],
  "authority.revoke": [{ id: authority, reason }],
  "authority.emergency_revoke": [{ id: authority, reason }],
  "threshold.set": [{ role, count: whole({ least: 0, most: 64 }) }, { domain }],
  "proposal.open": [
    { command: text(), body: values, author: authority, epoch: positive, sequence: positive, expires: time },
  ],
  "proposal.vote": [
    {
      proposal: hexDigest,
      voter: authority,
      choice: oneOf("approve", "reject", "withdraw"),
      epoch: positive,
      sequence: positive,
    },
  ],
  "proposal.withdraw": [{ proposal: hexDigest, author: authority }],
  "member.add": [{ member }],
  "member.promote": [{ id: node }],
  "member.remove": [{ id: node, reason }],
  "member.rotate": [{ member }],
  "member.evict": [{ id: node, first: base64, second: base64 }],
  "cluster.rules": [{ to: positive }],
  "domain.create": [{ id: domain, parent: domain }],
  "domain.move": [{ id: domain, parent: domain }],
  "domain.remove": [{ id: domain }],
  attest: [{ statement: base64, entity: text(), expires: time, supersedes: nullable(hexDigest) }, { domain }],
  "attestation.resolve": [{ entity: text(), predicate_type: text(), keep: nullable(hexDigest), reason }],
  "grant.issue": [grant, { domain }],
  "grant.delegate": [{ ...grant, parent: name, domain }],
  "grant.renew": [{ id: name, not_after_grant: time }],
  "grant.revoke": [{ id: name, reason }],
  "boundary.set": [{ id: name }, { ...bounds, domain }],
  "boundary.remove": [{ id: name }, { domain }],
  "audit.anchor": [
    {
      node,
      log: text({ pattern: /^[0-9a-f]{32}$/ }),
      size: positive,
      root: hexDigest,
      proof: list(base64, { most: 64 }),
    },
  ],
  "permit.redeem": [{ node, permit: base64 }],
};

const header = { cluster: text(), command_id: text({ pattern: /^[!-~]{1,128}$/ }), not_after: time };

/** The command in an envelope: {name, fields}. Throws DecodeError. */
export function decodeCommand({ payloadType, payload }) {
  const known = TYPE.exec(payloadType)?.[1];
  if (known === undefined || !Object.hasOwn(COMMANDS, known)) throw new DecodeError("the envelope holds no command");
  return { name: known, fields: fieldsOf(known, parseCanonicalJson(payload, PAYLOAD_BYTES_MAX)) };
}

function fieldsOf(known, value) {
  const [fields, optional, check = () => {}] = COMMANDS[known];
  const found = record({ ...header, ...fields }, optional)(value, known);
  check(found, known);
  return found;
}

function namesTargets({ id, targets }, known) {
  if ((id === undefined) === (targets === undefined)) throw new DecodeError(`\`${known}\` needs \`id\` or \`targets\``);
  const isSorted = (targets ?? []).every((name, place) => place === 0 || compareText(targets[place - 1], name) < 0);
  if (!isSorted) throw new DecodeError(`\`${known}.targets\` must be sorted, each once`);
}
