// The genesis: the one file that is trusted (docs/formats.md §3).

import { compareText, countCharacters, equal, fromBase64, hex, toBase64 } from "./bytes.mjs";
import { certificateKey } from "./certificates.mjs";
import { digest } from "./digests.mjs";
import { Electorate } from "./electorate.mjs";
import { DecodeError } from "./errors.mjs";
import { parseCanonicalJson } from "./json.mjs";
import { isSoundKey } from "./keys.mjs";
import { pack } from "./msgpack.mjs";
import { boolean, list, mapOf, oneOf, record, text, whole } from "./shapes.mjs";
import { sectionDigest } from "./trie.mjs";

const GENESIS_BYTES_MAX = 1024 * 1024;
const CERTIFICATE_BYTES_MAX = 4096;
const VOTERS_MAX = 9;
const OBSERVERS_MAX = 64;
const AUTHORITIES_MAX = 1000;
const SIGNATURES_MAX = 64;
export const TIME_MAX_MS = 253_402_300_799_999;
export const NODE_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;
export const AUTHORITY_ID = /^[A-Za-z0-9][A-Za-z0-9._@-]{0,127}$/;
export const ROLES = ["attestor", "auditor", "emergency", "operator", "policy", "root"];
export const SECTIONS = [
  ...["policies", "authorities", "electorate", "entities", "attestations"],
  ...["grants", "boundaries", "proposals", "domains", "audit"],
];

const role = oneOf(...ROLES);
const shape = record({
  version: whole({ least: 1, most: 1 }),
  name: text({ pattern: /^[^\x00-\x1f\x7f]*$/, least: 1, most: 256 }),
  created: whole({ least: 1, most: TIME_MAX_MS }),
  nonce: text({ pattern: /^[0-9a-f]{32}$/ }),
  quorum: oneOf("majority", "byzantine"),
  lease_ms: whole({ least: 100, most: 600_000 }),
  clock_drift_max_ppm: whole({ least: 0, most: 100_000 }),
  clock_skew_max_ms: whole({ least: 1, most: 600_000 }),
  members: list(
    record({ id: text({ pattern: NODE_ID }), public_key: text(), certificate: text(), voter: boolean, address: text() }),
  ),
  authorities: list(record({ id: text({ pattern: AUTHORITY_ID }), public_key: text(), roles: list(role) })),
  thresholds: mapOf(whole({ least: 1 }), { keys: role }),
}, { rules: whole({ least: 2, most: 2n ** 53n }) });

/**
 * Decode a genesis file: its fields, members and authorities with keys as bytes, and `clusterId`, `clusterDigest`,
 * `origin`, `electorate`. Throws DecodeError.
 */
export async function decodeGenesis(bytes) {
  const file = shape(parseCanonicalJson(bytes, GENESIS_BYTES_MAX), "genesis");
  const members = file.members.map(readMember);
  const authorities = file.authorities.map((item) => ({ ...item, public_key: readKey(item.public_key, item.id) }));
  checkMembers(members);
  checkAuthorities(authorities, file.thresholds);
  demandDistinct([...members, ...authorities].map((item) => item.public_key), "public_key");
  const clusterDigest = await digest("genesis", bytes);
  const clusterId = hex(clusterDigest);
  return {
    ...file,
    members,
    authorities,
    clusterId,
    clusterDigest,
    origin: `govraft.dev/${clusterId}`,
    electorate: new Electorate(1, file.quorum, members),
  };
}

function readMember(item) {
  const key = readKey(item.public_key, item.id);
  const certificate = fromBase64(item.certificate, "certificate");
  const own = certificate.length > CERTIFICATE_BYTES_MAX ? null : certificateKey(certificate);
  if (own === null || !equal(own, key)) throw new DecodeError(`\`certificate\` of \`${item.id}\` is not one of its key`);
  if (!isAddress(item.address)) throw new DecodeError(`\`address\` of \`${item.id}\` is not host:port`);
  return { ...item, public_key: key, certificate };
}

function readKey(value, id) {
  const key = fromBase64(value, "public_key");
  if (!isSoundKey(key)) throw new DecodeError(`\`public_key\` of \`${id}\` is not a usable Ed25519 key`);
  return key;
}

function isAddress(value) {
  const match = /^(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]{1,253}):([0-9]{1,5})$/.exec(value);
  return match !== null && Number(match[1]) <= 65_535;
}

function checkMembers(members) {
  const voters = members.filter((member) => member.voter).length;
  if (voters < 1 || voters > VOTERS_MAX) throw new DecodeError(`\`members\` needs 1 to ${VOTERS_MAX} voters`);
  if (members.length - voters > OBSERVERS_MAX) throw new DecodeError(`\`members\` has over ${OBSERVERS_MAX} observers`);
  demandSorted(members, "members");
  demandDistinct(members.map((member) => member.certificate), "certificate");
}

function checkAuthorities(authorities, thresholds) {
  if (authorities.length > AUTHORITIES_MAX) throw new DecodeError(`over ${AUTHORITIES_MAX} authorities`);
  demandSorted(authorities, "authorities");
  for (const { id, roles } of authorities) {
    const isSorted = roles.every((name, place) => place === 0 || compareText(roles[place - 1], name) < 0);
    if (roles.length === 0 || !isSorted) throw new DecodeError(`\`roles\` of \`${id}\` must be sorted and distinct`);
  }
  if (!["operator", "policy", "root"].every((name) => thresholds.has(name))) {
    throw new DecodeError("`thresholds` must name operator, policy and root");
  }
  for (const [name, needed] of thresholds) {
    const holders = authorities.filter((authority) => authority.roles.includes(name)).length;
    if (needed > Math.min(holders, SIGNATURES_MAX)) throw new DecodeError(`\`thresholds.${name}\` cannot be met`);
  }
}

function demandSorted(items, field) {
  if (!items.every((item, place) => place === 0 || compareText(items[place - 1].id, item.id) < 0)) {
    throw new DecodeError(`the ids of \`${field}\` must be sorted and distinct`);
  }
}

function demandDistinct(values, field) {
  if (new Set(values.map(toBase64)).size !== values.length) throw new DecodeError(`one \`${field}\` appears twice`);
}

/** The records of the section `electorate` that a genesis begins with, as a Map of bytes. */
export function electorateRecords(genesis) {
  const { lease_ms, clock_drift_max_ppm, clock_skew_max_ms } = genesis;
  const records = new Map([
    ["epoch", pack({ epoch: 1, rule: genesis.quorum })],
    ["timing", pack({ lease_ms, clock_drift_max_ppm, clock_skew_max_ms })],
  ]);
  for (const member of genesis.members) records.set(`member/${member.id}`, pack(member));
  return records;
}

/** Leaf 1, which stands for the genesis. */
export async function genesisLeaf(genesis) {
  const authorities = new Map();
  for (const authority of genesis.authorities) authorities.set(`authority/${authority.id}`, pack(authority));
  for (const [name, count] of genesis.thresholds) authorities.set(`threshold/${name}`, pack(count));
  const filled = { authorities, electorate: electorateRecords(genesis) };
  const sections = new Map();
  for (const name of SECTIONS) sections.set(name, await sectionDigest(filled[name] ?? new Map()));
  return pack({
    seq: 1,
    epoch: 1,
    time: genesis.created,
    entry_digest: genesis.clusterDigest,
    outcome: "applied",
    sections,
    state_root: await digest("state", pack(sections)),
  });
}
