// Lineage exports (docs/formats.md §12): every leaf and entry, and who certified them.
//
// This verifier has no state machine. It proves that these are the entries and leaves that the quorums certified, and
// that the members of each epoch come of the entries; whether each leaf is what its entry makes of the state before, it
// takes from the quorum. So what it proves says `replayed: false`; replay it with `govraft verify` to know.

import { equal, fromBase64, hex, utf8 } from "./bytes.mjs";
import { proveCheckpoint } from "./certificate.mjs";
import { digest } from "./digests.mjs";
import { EpochHistory, nextElectorate } from "./epochs.mjs";
import { certificateInvalid, decoding, decodingAsync, lineageInconsistent, malformed, wrongCluster } from "./errors.mjs";
import { genesisLeaf, SECTIONS } from "./genesis.mjs";
import { parseJson } from "./json.mjs";
import { decodeLeaf } from "./leaf.mjs";
import { verifyLease } from "./lease.mjs";
import { Roster } from "./members.mjs";
import { Frontier } from "./merkle.mjs";
import { decodeSigned } from "./messages.mjs";
import { pack } from "./msgpack.mjs";
import { nullable, oneOf, record, text, whole } from "./shapes.mjs";

export const LINEAGE_FORMAT = "govraft.lineage.v1";
const LINE_BYTES_MAX = 2 * 1024 * 1024;

const headerShape = record({ format: oneOf(LINEAGE_FORMAT), cluster: text(), name: text(), last: whole() });
const recordShape = record({ seq: whole({ least: 1 }), leaf: text(), entry: nullable(text()) });
const epochShape = record({ epoch: whole({ least: 2 }), lease: text() });
const endShape = record({ certificate: text() });

/** What a lineage export proves, but for a replay of the state. `use`: {trust}, whose seq its root is shown at. */
export async function proveLineage(bytes, genesis, { trust }) {
  const lines = linesOf(bytes);
  const header = readLine(lines[0], 1, headerShape);
  if (header.cluster !== genesis.clusterId || header.name !== genesis.name) {
    throw wrongCluster("the export is of another cluster than the genesis");
  }
  const lineage = new Lineage(genesis, trust?.seq ?? 0);
  for (let number = 2; number <= lines.length; number += 1) {
    const certificate = await take(lineage, lines[number - 1], number);
    if (certificate === null) continue;
    if (number < lines.length) throw malformed(`line ${number + 1}: nothing may follow the certificate`);
    const proven = await lineage.finish(certificate);
    if (proven.seq !== header.last) throw malformed(`the header says that seq ${header.last} is the last`);
    const { history, roots } = lineage;
    return { shown: { history, epoch: proven.epoch, seq: proven.seq, roots }, proven };
  }
  throw malformed("the export ends without a certificate: it was cut off");
}

function linesOf(bytes) {
  const lines = [];
  for (let place = 0; place < bytes.length; ) {
    const found = bytes.indexOf(0x0a, place);
    const end = found < 0 ? bytes.length : found + 1;
    lines.push(bytes.subarray(place, end));
    place = end;
  }
  return lines;
}

function readLine(line, number, shape) {
  const wrap = (message) => malformed(`line ${number} is not of a lineage export: ${message}`);
  if (line === undefined || line.length > LINE_BYTES_MAX) throw wrap("it is missing or too long");
  return decoding(wrap, () => shape(parseJson(line), "line"));
}

const anyShape = (value) => value;

/** Take the line of a seq or an epoch; gives the certificate of the last line, else null. */
async function take(lineage, line, number) {
  const fields = readLine(line, number, anyShape);
  const has = (name) => fields instanceof Map && fields.has(name);
  const bytesOf = (value) => decoding(malformed, () => fromBase64(value, `line ${number}`));
  if (has("certificate")) return utf8(readLine(line, number, endShape).certificate);
  if (has("epoch")) {
    const { epoch, lease } = readLine(line, number, epochShape);
    await lineage.certify(epoch, bytesOf(lease));
    return null;
  }
  const { seq, leaf, entry } = readLine(line, number, recordShape);
  await lineage.take(seq, bytesOf(leaf), entry === null ? null : bytesOf(entry));
  return null;
}

class Lineage {
  constructor(genesis, watched) {
    this.watched = watched;
    this.roots = new Map();
    this.genesis = genesis;
    this.history = new EpochHistory(genesis);
    this.roster = new Roster(genesis);
    this.tree = new Frontier();
    this.applied = 0;
    this.leaf = null;
    // The electorate of a change that nobody has certified yet.
    this.pending = null;
  }

  async take(seq, bytes, entry) {
    if (seq !== this.tree.size + 1) throw lineageInconsistent(`seq ${seq} follows seq ${this.tree.size}`);
    this.demandCertified();
    if (seq === 1) {
      if (entry !== null || !equal(bytes, await genesisLeaf(this.genesis))) {
        throw lineageInconsistent("leaf 1 is not that of the genesis");
      }
    } else if (entry === null) {
      throw lineageInconsistent(`the entry of seq ${seq} is missing`);
    }
    const wrap = (message) => lineageInconsistent(`the leaf of seq ${seq} does not hold: ${message}`);
    const leaf = decoding(wrap, () => decodeLeaf(bytes));
    if (seq > 1) await this.follow(leaf, entry, wrap);
    await this.tree.append(bytes);
    if (seq === this.watched) this.roots.set(seq, await this.tree.root());
    this.leaf = leaf;
    this.applied += leaf.outcome === "applied" ? 1 : 0;
  }

  // What the leaf says by itself, beside its entry, and beside the leaf before it.
  async follow(leaf, entry, wrap) {
    if (!equal(await digest("entry", entry), leaf.entry_digest)) throw wrap("it commits to another entry");
    if (leaf.seq !== this.tree.size + 1 || leaf.time < this.leaf.time) throw wrap("its seq or time does not follow");
    if (leaf.sections.size !== SECTIONS.length || !SECTIONS.every((name) => leaf.sections.has(name))) {
      throw wrap("its sections are not those of a state");
    }
    if (!equal(leaf.state_root, await digest("state", pack(leaf.sections)))) throw wrap("its root is not of its sections");
    const { epoch } = this.history.newest;
    if (leaf.outcome === "applied" && (await decodingAsync(wrap, () => this.roster.apply(entry, leaf)))) {
      if (leaf.epoch !== epoch + 1) throw wrap("its members changed, and not its epoch by one");
      this.pending = nextElectorate(this.roster.records, leaf.epoch, this.genesis);
    } else if (leaf.epoch !== epoch || !this.isUnchanged(leaf)) {
      throw wrap("its epoch or its members changed without a command");
    }
  }

  isUnchanged(leaf) {
    return equal(leaf.sections.get("electorate"), this.leaf.sections.get("electorate"));
  }

  async certify(epoch, bytes) {
    if (this.pending === null || epoch !== this.pending.epoch) {
      throw lineageInconsistent(`the certificate of epoch ${epoch} does not follow seq ${this.tree.size}`);
    }
    const signed = decoding(
      (message) => certificateInvalid(`the certificate of epoch ${epoch} cannot be read: ${message}`),
      () => decodeSigned(bytes, "lease"),
    );
    const { checkpoint } = await verifyLease(signed, [this.history.newest, this.pending], this.genesis);
    if (checkpoint.seq !== this.tree.size || !equal(checkpoint.root, await this.tree.root())) {
      throw lineageInconsistent(`the certificate of epoch ${epoch} is of another state than that of its seq`);
    }
    this.history.learn(this.tree.size, this.pending);
    this.pending = null;
  }

  demandCertified() {
    if (this.pending !== null) throw lineageInconsistent(`the change of the electorate at seq ${this.tree.size} is not certified`);
  }

  async finish(certificate) {
    this.demandCertified();
    const checkpoint = await proveCheckpoint(certificate, this.genesis, this.history);
    if (checkpoint.seq !== this.tree.size) {
      throw lineageInconsistent(`the certificate is for seq ${checkpoint.seq}, the export ends at ${this.tree.size}`);
    }
    if (!equal(checkpoint.root, await this.tree.root())) {
      throw lineageInconsistent("the certified root is not the root of these leaves");
    }
    this.roots.set(checkpoint.seq, checkpoint.root);
    return {
      kind: "lineage",
      ...checkpoint,
      root: hex(checkpoint.root),
      applied: this.applied,
      rejected: this.tree.size - this.applied,
      state_root: hex(this.leaf.state_root),
      time: this.leaf.time,
      replayed: false,
    };
  }
}
