// Checkpoints, cosignatures and signed notes, as C2SP defines them (docs/formats.md §8).

import { concat, equal, fromBase64, integer, textOf, toBase64, utf8 } from "./bytes.mjs";
import { sha256 } from "./digests.mjs";
import { DecodeError } from "./errors.mjs";
import { bigEndian, fromBigEndian } from "./msgpack.mjs";

const NOTE_BYTES_MAX = 64 * 1024;
const LINES_MAX = 64;
const TIME_S_MAX = 2n ** 63n - 1n;
const DASH = "— ";
const CONTROL = /[\x00-\x09\x0b-\x1f]/;
// White space as Unicode has it; the language's \s lacks U+0085 and has U+FEFF.
const SPACE = /[\x09-\x0d\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;

export const keyName = (origin, nodeId) => `${origin}/${nodeId}`;

/** First four bytes of H(name ‖ 0x0A ‖ 0x04 ‖ public key). */
export const cosignatureKeyId = async (name, publicKey) =>
  (await sha256(utf8(`${name}\n\x04`), publicKey)).subarray(0, 4);

/** What a cosigner signs over a checkpoint's body. */
export const cosignedMessage = (body, timeS) => concat(utf8(`cosignature/v1\ntime ${timeS}\n`), body);

export const encodeCheckpoint = ({ origin, seq, root }) => utf8(`${origin}\n${seq}\n${toBase64(root)}\n`);

/** Read a body of exactly the three lines. Throws DecodeError. */
export function decodeCheckpoint(body) {
  const lines = noteText(body).split("\n");
  if (lines.length !== 4 || lines[3] !== "") throw new DecodeError("a checkpoint must be exactly three lines");
  const [origin, size, root] = lines;
  if (origin === "" || !/^(?:0|[1-9][0-9]{0,17})$/.test(size)) {
    throw new DecodeError("a checkpoint needs an origin and a decimal size");
  }
  const checkpoint = { origin, seq: integer(BigInt(size)), root: fromBase64(root, "root") };
  if (checkpoint.root.length !== 32 || !equal(encodeCheckpoint(checkpoint), body)) {
    throw new DecodeError("a checkpoint is not in canonical form");
  }
  return checkpoint;
}

/**
 * Parse a signed note: its body, its cosignatures {name, keyId, timeS, signature}, and `others`, the lines {name,
 * keyId} of another shape. Throws DecodeError.
 */
export function parseNote(bytes) {
  if (bytes.length > NOTE_BYTES_MAX) throw new DecodeError(`a note has at most ${NOTE_BYTES_MAX} bytes`);
  const whole = noteText(bytes);
  const split = whole.lastIndexOf("\n\n");
  if (split < 0 || !whole.endsWith("\n")) throw new DecodeError("a note lacks the blank line before its signatures");
  const lines = whole.slice(split + 2).split("\n").slice(0, -1);
  if (lines.length < 1 || lines.length > LINES_MAX) throw new DecodeError(`a note has 1 to ${LINES_MAX} signature lines`);
  const parsed = lines.map(parseLine);
  return {
    body: utf8(whole.slice(0, split + 1)),
    signatures: parsed.filter((item) => item.signature !== undefined),
    others: parsed.filter((item) => item.signature === undefined),
  };
}

/** The note of a body and cosignatures. */
export function formatNote(body, signatures) {
  const lines = signatures.map(({ name, keyId, timeS, signature }) =>
    utf8(`${DASH}${name} ${toBase64(concat(keyId, bigEndian(timeS, 8), signature))}\n`),
  );
  return concat(body, utf8("\n"), ...lines);
}

function parseLine(line) {
  const parts = line.slice(DASH.length).split(" ");
  if (!line.startsWith(DASH) || parts.length !== 2 || parts[0] === "" || parts[0].includes("+") || SPACE.test(parts[0])) {
    throw new DecodeError("a note has a malformed signature line");
  }
  const blob = fromBase64(parts[1], "signature");
  if (blob.length < 5) throw new DecodeError("a note has a signature that is too short");
  const known = { name: parts[0], keyId: blob.subarray(0, 4) };
  if (blob.length !== 76) return known;
  const timeS = fromBigEndian(blob.subarray(4, 12));
  return timeS > TIME_S_MAX ? known : { ...known, timeS, signature: blob.subarray(12) };
}

function noteText(bytes) {
  const text = textOf(bytes);
  if (CONTROL.test(text)) throw new DecodeError("a note has control characters");
  return text;
}
