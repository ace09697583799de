// Proof files: a leaf is in the lineage, and the lineage begins with an earlier one (docs/formats.md §12).

import { hex, utf8 } from "./bytes.mjs";
import { proveCheckpoint } from "./certificate.mjs";
import { openHistory } from "./epochs.mjs";
import { decoding, lineageInconsistent, malformed } from "./errors.mjs";
import { readBytes, readFile, readNodes } from "./files.mjs";
import { decodeLeaf, shownLeaf } from "./leaf.mjs";
import { rootUpTo, verifyConsistency, verifyInclusion } from "./merkle.mjs";
import { anything, list, mapOf, nullable, oneOf, record, text, whole } from "./shapes.mjs";

export const PROOF_FORMAT = "govraft.proof.v1";

const shape = record({
  format: oneOf(PROOF_FORMAT),
  leaf: text(),
  proof: list(text()),
  certificate: text(),
  earlier: nullable(record({ seq: whole(), root: text(), proof: list(text()) })),
  epochs: list(mapOf(anything)),
});

/** What a proof file proves. */
export async function proveLeaf(bytes, genesis) {
  const file = readFile(bytes, shape);
  const leafBytes = readBytes(file.leaf, "leaf");
  const leaf = decoding(malformed, () => decodeLeaf(leafBytes));
  const history = await openHistory(genesis, file.epochs);
  const checkpoint = await proveCheckpoint(utf8(file.certificate), genesis, history);
  const proof = readNodes(file.proof);
  await verifyInclusion(leafBytes, leaf.seq, checkpoint.seq, proof, checkpoint.root);
  // The newest leaf of a lineage tells in which epoch its certificate must be.
  if (leaf.seq === checkpoint.seq && leaf.epoch !== checkpoint.epoch) {
    throw lineageInconsistent(`the leaf is of epoch ${leaf.epoch}, its certificate of epoch ${checkpoint.epoch}`);
  }
  const roots = new Map([[leaf.seq, await rootUpTo(leafBytes, leaf.seq, checkpoint.seq, proof)]]);
  roots.set(checkpoint.seq, checkpoint.root);
  const earlier = await proveEarlier(file.earlier, checkpoint, roots);
  const proven = { kind: "proof", ...checkpoint, root: hex(checkpoint.root), leaf: shownLeaf(leaf), ...earlier };
  return { shown: { history, epoch: checkpoint.epoch, seq: checkpoint.seq, roots }, proven };
}

async function proveEarlier(earlier, checkpoint, roots) {
  if (earlier === null) return { earlier_seq: 0, earlier_root: "" };
  const root = readBytes(earlier.root, "root");
  if (earlier.seq < 1 || earlier.seq > checkpoint.seq) {
    throw lineageInconsistent(`a lineage of ${checkpoint.seq} leaves begins with none of ${earlier.seq}`);
  }
  await verifyConsistency(earlier.seq, root, checkpoint.seq, checkpoint.root, readNodes(earlier.proof));
  roots.set(earlier.seq, root);
  return { earlier_seq: earlier.seq, earlier_root: hex(root) };
}
