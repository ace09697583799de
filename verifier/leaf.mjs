// The leaf of one seq (docs/formats.md §7).

import { hex } from "./bytes.mjs";
import { unpack } from "./msgpack.mjs";
import { binary, mapOf, record, text, whole } from "./shapes.mjs";

const LEAF_BYTES_MAX = 4096;
const counted = whole({ least: 1 });

const shape = record({
  seq: counted,
  epoch: counted,
  time: counted,
  entry_digest: binary(32),
  outcome: text(),
  sections: mapOf(binary(32)),
  state_root: binary(32),
});

/** Decode a leaf. Throws DecodeError. */
export const decodeLeaf = (bytes) => shape(unpack(bytes, LEAF_BYTES_MAX), "leaf");

/** A leaf with its digests as hexadecimal digits, as proofs show it. */
export function shownLeaf(leaf) {
  return {
    ...leaf,
    entry_digest: hex(leaf.entry_digest),
    sections: Object.fromEntries([...leaf.sections].map(([name, value]) => [name, hex(value)])),
    state_root: hex(leaf.state_root),
  };
}
