// RFC 6962: the root of a lineage, and proofs about it (docs/formats.md §7).

import { equal } from "./bytes.mjs";
import { sha256 } from "./digests.mjs";
import { lineageInconsistent } from "./errors.mjs";

const SIZE_MAX = 2n ** 63n - 1n;
const NODES_MAX = 128;
const LEAF = Uint8Array.of(0);
const NODE = Uint8Array.of(1);

export const hashLeaf = (leaf) => sha256(LEAF, leaf);
const hashNode = (left, right) => sha256(NODE, left, right);

/** Leaves one after the other, of which only the complete subtrees are kept. */
export class Frontier {
  constructor() {
    this.size = 0;
    this.subtrees = [];
  }

  async append(leaf) {
    let node = await hashLeaf(leaf);
    // As many complete subtrees join as the size before has ones at its end.
    for (let rest = this.size; rest % 2 === 1; rest = Math.floor(rest / 2)) {
      node = await hashNode(this.subtrees.pop(), node);
    }
    this.subtrees.push(node);
    this.size += 1;
  }

  async root() {
    if (this.size === 0) return sha256();
    let node = this.subtrees.at(-1);
    for (const left of this.subtrees.slice(0, -1).reverse()) node = await hashNode(left, node);
    return node;
  }
}

/** That `leaf` is the one of `seq` in the lineage of `size` leaves and this root. RFC 9162, 2.1.3.2. */
export async function verifyInclusion(leaf, seq, size, proof, root) {
  let position = BigInt(seq) - 1n;
  let last = BigInt(size) - 1n;
  if (position < 0n || position > last || BigInt(size) > SIZE_MAX) {
    throw lineageInconsistent(`no leaf ${seq} in a lineage of ${size} leaves`);
  }
  checkNodes(proof);
  let node = await hashLeaf(leaf);
  for (const sibling of proof) {
    if (last === 0n) throw lineageInconsistent("the inclusion proof is too long");
    if (position & 1n || position === last) {
      node = await hashNode(sibling, node);
      while (!(position & 1n) && position) [position, last] = [position >> 1n, last >> 1n];
    } else {
      node = await hashNode(node, sibling);
    }
    [position, last] = [position >> 1n, last >> 1n];
  }
  if (last !== 0n || !equal(node, root)) throw lineageInconsistent("the inclusion proof does not lead to the root");
}

/**
 * The root of the lineage that ends with `leaf`, from an inclusion proof that holds: its path passes every complete
 * subtree to its left, and those are all that lies before it.
 */
export async function rootUpTo(leaf, seq, size, proof) {
  let position = BigInt(seq) - 1n;
  let last = BigInt(size) - 1n;
  let node = await hashLeaf(leaf);
  for (const sibling of proof) {
    if (position & 1n || position === last) {
      node = await hashNode(sibling, node);
      while (!(position & 1n) && position) [position, last] = [position >> 1n, last >> 1n];
    }
    [position, last] = [position >> 1n, last >> 1n];
  }
  return node;
}

/** That a lineage begins with another one, `oldSize` from 1 to `newSize`. RFC 9162, 2.1.4.2. */
export async function verifyConsistency(oldSize, oldRoot, newSize, newRoot, proof) {
  const [from, to] = [BigInt(oldSize), BigInt(newSize)];
  if (from < 1n || from > to || to > SIZE_MAX) throw lineageInconsistent("no such earlier lineage");
  checkNodes(proof);
  if (from === to) {
    if (proof.length > 0 || !equal(oldRoot, newRoot)) throw lineageInconsistent("the roots are of two lineages");
    return;
  }
  // The root of a complete tree is a node of the later one, and left out.
  const nodes = (from & (from - 1n)) === 0n ? [oldRoot, ...proof] : proof;
  if (nodes.length === 0) throw lineageInconsistent("the consistency proof is empty");
  let [position, last] = [from - 1n, to - 1n];
  while (position & 1n) [position, last] = [position >> 1n, last >> 1n];
  let [old, recent] = [nodes[0], nodes[0]];
  for (const node of nodes.slice(1)) {
    if (last === 0n) throw lineageInconsistent("the consistency proof is too long");
    if (position & 1n || position === last) {
      old = await hashNode(node, old);
      recent = await hashNode(node, recent);
      while (!(position & 1n) && position) [position, last] = [position >> 1n, last >> 1n];
    } else {
      recent = await hashNode(recent, node);
    }
    [position, last] = [position >> 1n, last >> 1n];
  }
  if (last !== 0n || !equal(old, oldRoot) || !equal(recent, newRoot)) {
    throw lineageInconsistent("the roots are of two lineages");
  }
}

function checkNodes(proof) {
  if (proof.length > NODES_MAX || proof.some((node) => node.length !== 32)) {
    throw lineageInconsistent(`a proof holds at most ${NODES_MAX} nodes of 32 bytes`);
  }
}
