// Evidence files in canonical JSON: one spelling, so that no byte can be changed unnoticed (docs/formats.md §12).

import { fromBase64 } from "./bytes.mjs";
import { decoding, malformed } from "./errors.mjs";
import { parseCanonicalJson } from "./json.mjs";

export const FILE_BYTES_MAX = 4 * 1024 * 1024;

/** Read a file of one shape; one newline may end it. */
export function readFile(bytes, shape) {
  const file = bytes.at(-1) === 0x0a ? bytes.subarray(0, -1) : bytes;
  return decoding(malformed, () => shape(parseCanonicalJson(file, FILE_BYTES_MAX), "file"));
}

/** The bytes behind base64 text of a file. */
export const readBytes = (text, what) => decoding(malformed, () => fromBase64(text, what));

/** The nodes of a Merkle proof. */
export const readNodes = (texts) => texts.map((text) => readBytes(text, "proof"));
