// The leaf of one seq (docs/formats.md §7).

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
