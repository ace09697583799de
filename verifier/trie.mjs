// The digest of a section of the state: a sparse Merkle trie over the hashes of its keys (docs/formats.md §6).

import { sha256 } from "./digests.mjs";
import { utf8 } from "./bytes.mjs";

const EMPTY = new Uint8Array(32);
const LEAF = Uint8Array.of(0);
const BRANCH = Uint8Array.of(1);

/** Digest of a Map from text keys to bytes. */
export async function sectionDigest(records) {
  const leaves = [];
  for (const [key, value] of records) {
    const path = await sha256(utf8(key));
    leaves.push({ path, digest: await sha256(LEAF, path, await sha256(value)) });
  }
  return subtree(leaves, 0);
}

async function subtree(leaves, depth) {
  if (leaves.length === 0) return EMPTY;
  // One key is its leaf at whatever depth.
  if (leaves.length === 1) return leaves[0].digest;
  const isRight = ({ path }) => (path[depth >> 3] >> (7 - (depth & 7))) & 1;
  const left = await subtree(leaves.filter((leaf) => !isRight(leaf)), depth + 1);
  const right = await subtree(leaves.filter(isRight), depth + 1);
  return sha256(BRANCH, left, right);
}
