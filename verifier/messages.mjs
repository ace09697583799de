// Probe, ack and lease, and the signed wrapper around each (docs/formats.md §9).

import { concat, utf8 } from "./bytes.mjs";
import { digest } from "./digests.mjs";
import { DecodeError } from "./errors.mjs";
import { NODE_ID } from "./genesis.mjs";
import { pack, unpack } from "./msgpack.mjs";
import { decodeCheckpoint } from "./note.mjs";
import { anything, binary, list, mapOf, record, text, whole } from "./shapes.mjs";

const FRAME_BYTES_MAX = 1024 * 1024;
const HOLDERS_MAX = 73;
const natural = whole({ least: 0, most: 2n ** 63n - 1n });

const wrapperShape = record({ k: text(), s: text(), g: binary(64), b: binary() });
const probeFields = {
  epoch: natural,
  term: natural,
  round: natural,
  leader: text(),
  checkpoint: binary(),
  sections: mapOf(binary(32), { most: 32 }),
  grants: mapOf(binary(16), { most: HOLDERS_MAX }),
};
const probeShape = record(probeFields);
const laterProbeShape = record({
  ...probeFields,
  grants: mapOf(binary(16, 32), { most: HOLDERS_MAX }),
  wall: natural,
  more: mapOf(anything),
});
const ackShape = record({
  probe: binary(32),
  round: natural,
  seq: natural,
  root: binary(32),
  node: text(),
  nonce: binary(16),
  outstanding: list(text({ pattern: NODE_ID }), { most: HOLDERS_MAX }),
  time_s: natural,
  cosignature: binary(64),
});
const leaseShape = record({ probe: binary(), acks: list(binary(), { most: HOLDERS_MAX }), note: binary() });

/** A wrapper that must be of `kind`: {kind, signer, signature, body}. Throws DecodeError. */
export function decodeSigned(bytes, kind) {
  const { k, s, g, b } = wrapperShape(unpack(bytes, FRAME_BYTES_MAX), "signed message");
  if (k !== kind) throw new DecodeError(`expected a signed ${kind}`);
  return { kind, signer: s, signature: g, body: b };
}

/** What the signature of a wrapper covers. */
export const signedMessage = ({ kind, body }, genesis) =>
  concat(utf8(`govraft/${kind}/v1\0`), genesis.clusterDigest, body);

/** The name by which acks refer to a probe. */
export const probeDigest = ({ signer, signature, body }) =>
  digest("probe-digest", pack({ k: "probe", s: signer, g: signature, b: body }));

/** Of format 2 if it has `wall`, the leader's clock in ms, or `more`, of which nothing needs to be known here. */
export function decodeProbe(body) {
  const value = unpack(body, FRAME_BYTES_MAX);
  const isLater = value instanceof Map && (value.has("wall") || value.has("more"));
  const probe = (isLater ? laterProbeShape : probeShape)(value, "probe");
  return { ...probe, checkpoint: decodeCheckpoint(probe.checkpoint) };
}

export const decodeAck = (body) => ackShape(unpack(body, FRAME_BYTES_MAX), "ack");

export function decodeLease(body) {
  const lease = leaseShape(unpack(body, FRAME_BYTES_MAX), "lease");
  return {
    probe: decodeSigned(lease.probe, "probe"),
    acks: lease.acks.map((item) => decodeSigned(item, "ack")),
    note: lease.note,
  };
}
