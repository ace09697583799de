// Snapshot files: the whole state at one seq (docs/formats.md §13).

import { equal, hex, utf8 } from "./bytes.mjs";
import { proveCheckpoint } from "./certificate.mjs";
import { sha256 } from "./digests.mjs";
import { historyOf } from "./epochs.mjs";
import { decoding, lineageInconsistent, malformed } from "./errors.mjs";
import { SECTIONS, TIME_MAX_MS } from "./genesis.mjs";
import { decodeLeaf, shownLeaf } from "./leaf.mjs";
import { rootUpTo, verifyInclusion } from "./merkle.mjs";
import { unpack } from "./msgpack.mjs";
import { binary, list, mapOf, record, whole } from "./shapes.mjs";
import { sectionDigest } from "./trie.mjs";

const START = [0x89, 0xab, ...utf8("certificate")];
const BODY_BYTES_MAX = 2 ** 30;
const CHECKSUM_BYTES = 32;
const NOTE_BYTES_MAX = 64 * 1024;

const number = whole({ least: 1, most: 2n ** 62n });
const shape = record({
  v: whole({ least: 2, most: 2 }),
  seq: number,
  index: number,
  time: whole({ least: 1, most: TIME_MAX_MS }),
  sections: mapOf(mapOf(binary())),
  leaf: binary(),
  proof: list(binary()),
  certificate: binary(),
  epochs: list(
    record({ epoch: whole(), leaf: binary(), records: mapOf(binary()), note: binary(), proof: list(binary()) }),
  ),
});

/** Whether a file that begins with these bytes is a snapshot. */
export const isSnapshot = (bytes) => START.every((byte, place) => bytes[place] === byte);

/** What a snapshot file proves. */
export async function proveSnapshot(bytes, genesis) {
  const snapshot = await readSnapshot(bytes);
  const history = await historyOf(genesis, snapshot.epochs);
  const checkpoint = await proveCheckpoint(snapshot.certificate, genesis, history);
  if (checkpoint.seq < snapshot.seq) throw lineageInconsistent(`the certificate is of the earlier seq ${checkpoint.seq}`);
  const leaf = decoding(malformed, () => decodeLeaf(snapshot.leaf));
  if (leaf.seq !== snapshot.seq || leaf.time !== snapshot.time) {
    throw lineageInconsistent("its leaf is of another seq or time");
  }
  await verifyInclusion(snapshot.leaf, leaf.seq, checkpoint.seq, snapshot.proof, checkpoint.root);
  if (leaf.epoch !== history.judges(leaf.seq).at(-1).epoch) {
    throw lineageInconsistent(`its leaf is of epoch ${leaf.epoch}, another was in force as far as is shown`);
  }
  await demandRecords(snapshot.sections, leaf);
  const counts = SECTIONS.map((name) => [name, snapshot.sections.get(name).size]);
  const roots = new Map([[leaf.seq, await rootUpTo(snapshot.leaf, leaf.seq, checkpoint.seq, snapshot.proof)]]);
  roots.set(checkpoint.seq, checkpoint.root);
  const proven = {
    kind: "snapshot",
    ...checkpoint,
    root: hex(checkpoint.root),
    leaf: shownLeaf(leaf),
    records: Object.fromEntries(counts),
  };
  return { shown: { history, epoch: checkpoint.epoch, seq: checkpoint.seq, roots }, proven };
}

async function readSnapshot(bytes) {
  const body = bytes.subarray(0, Math.max(0, bytes.length - CHECKSUM_BYTES));
  // What a disk did to the file is found before a byte of it is parsed.
  if (body.length === 0 || !equal(await sha256(body), bytes.subarray(body.length))) {
    throw malformed("the checksum of the snapshot does not fit: it is cut short or damaged");
  }
  const snapshot = decoding(malformed, () => shape(unpack(body, BODY_BYTES_MAX), "snapshot"));
  const { sections, certificate } = snapshot;
  if (sections.size !== SECTIONS.length || !SECTIONS.every((name) => sections.has(name))) {
    throw malformed("the snapshot does not have the sections of a state");
  }
  if (certificate.length > NOTE_BYTES_MAX) throw malformed("the certificate of the snapshot is too long");
  return snapshot;
}

async function demandRecords(sections, leaf) {
  if (leaf.sections.size !== sections.size) throw lineageInconsistent("the leaf has other sections than the snapshot");
  for (const [name, records] of sections) {
    const certified = leaf.sections.get(name);
    if (certified === undefined || !equal(await sectionDigest(records), certified)) {
      throw lineageInconsistent(`section \`${name}\` has another digest than the leaf says`);
    }
  }
}
