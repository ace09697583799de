// What a verifier was given to trust beyond the genesis, and what evidence is worth beside it (docs/formats.md §14).
//
// From the genesis alone, every electorate that ever was looks alike: whoever holds the keys of a quorum that left can
// still sign anything. A trust state is given by people; `advance` gives a later one, and nothing here keeps any.

import { compareText, equal, fromBase64, hex, toBase64, utf8 } from "./bytes.mjs";
import { digest } from "./digests.mjs";
import { Electorate } from "./electorate.mjs";
import { EpochHistory } from "./epochs.mjs";
import { DecodeError, VerificationError } from "./errors.mjs";
import { NODE_ID } from "./genesis.mjs";
import { encodeJson, parseCanonicalJson } from "./json.mjs";
import { isSoundKey } from "./keys.mjs";
import { boolean, list, oneOf, record, text, whole } from "./shapes.mjs";

export const TRUST_FORMAT = "govraft.trust.v1";
const BYTES_MAX = 64 * 1024;
const HEX_DIGEST = /^[0-9a-f]{64}$/;

const counted = whole({ least: 1, most: Number.MAX_SAFE_INTEGER });
const shape = record({
  format: oneOf(TRUST_FORMAT),
  cluster: text({ pattern: HEX_DIGEST }),
  epoch: counted,
  electorate: list(record({ id: text({ pattern: NODE_ID }), public_key: text(), voter: boolean })),
  seq: counted,
  root: text({ pattern: HEX_DIGEST }),
});

const keysOf = (electorate) =>
  electorate.members.map(({ id, public_key, voter }) => `${id} ${toBase64(public_key)} ${voter}`).join();

/** A root that evidence shows at a seq, or undefined. `shown`: {history, epoch, seq, roots: Map}. */
const rootAt = (shown, seq) => shown.roots.get(seq) ?? shown.history.roots.get(seq);

export class Trust {
  /** `electorate` was in force at `seq`, where the lineage had `root` (32 bytes). */
  constructor(cluster, electorate, seq, root) {
    Object.assign(this, { cluster, electorate, seq, root });
  }

  /** Read a trust file of the cluster of a decoded genesis. Throws DecodeError: then nothing may be judged. */
  static decode(bytes, genesis) {
    const data = bytes.at(-1) === 0x0a ? bytes.subarray(0, -1) : bytes;
    const file = shape(parseCanonicalJson(data, BYTES_MAX), "trust");
    if (file.cluster !== genesis.clusterId) throw new DecodeError("the trust state is of another cluster");
    const members = file.electorate.map((item) => {
      const key = fromBase64(item.public_key, "public_key");
      if (!isSoundKey(key)) throw new DecodeError(`\`public_key\` of \`${item.id}\` is no usable Ed25519 key`);
      return { ...item, public_key: key };
    });
    const isSorted = members.every(({ id }, place) => place === 0 || compareText(members[place - 1].id, id) < 0);
    if (!isSorted || new Set(members.map((item) => toBase64(item.public_key))).size !== members.length) {
      throw new DecodeError("`electorate` must be sorted by id, each id and each key once");
    }
    if (!members.some((item) => item.voter)) throw new DecodeError("`electorate` needs a voter");
    const electorate = new Electorate(file.epoch, genesis.quorum, members);
    if (file.epoch === 1 && keysOf(electorate) !== keysOf(genesis.electorate)) {
      throw new DecodeError("the members of epoch 1 are not those of the genesis");
    }
    const root = Uint8Array.from(file.root.match(/../g), (pair) => Number.parseInt(pair, 16));
    return new Trust(file.cluster, electorate, file.seq, root);
  }

  /** The bytes of its file. */
  encode() {
    const electorate = this.electorate.members.map(({ id, public_key, voter }) => ({
      id,
      public_key: toBase64(public_key),
      voter,
    }));
    const { cluster, seq } = this;
    const { epoch } = this.electorate;
    return utf8(encodeJson({ format: TRUST_FORMAT, cluster, epoch, electorate, seq, root: hex(this.root) }));
  }

  /** Names it, for people to compare: 64 hexadecimal digits. */
  async fingerprint() {
    return hex(await digest("trust", this.encode()));
  }

  /** Epochs that begin at the trusted electorate. */
  history(genesis) {
    return EpochHistory.beginningWith(this.electorate, genesis);
  }

  /** Whether evidence is shown to lie in the trusted history. Throws `conflict` for one of another history. */
  ties(shown) {
    this.#demandOneHistory(shown);
    return shown.epoch >= this.electorate.epoch || this.#isOwnCheckpoint(shown);
  }

  /** Refuse a permit, unless it is of the trusted electorate or of one that follows it. Its seq may be lower. */
  demandCurrent(shown) {
    this.#demandOneHistory(shown);
    if (shown.epoch < this.electorate.epoch) {
      throw new VerificationError(`the electorate of epoch ${shown.epoch} has left`, "superseded");
    }
  }

  // Two histories of one cluster are never taken for an old and a new state of one.
  #demandOneHistory(shown) {
    const { epoch } = this.electorate;
    for (const { seq: begin, electorate } of shown.history.known) {
      if (electorate.epoch === epoch && keysOf(electorate) !== keysOf(this.electorate)) {
        throw conflict(`it leads to other members of epoch ${epoch}`);
      }
      if (electorate.epoch <= epoch ? begin > this.seq : begin <= this.seq) {
        throw conflict(`it has epoch ${electorate.epoch} begin at seq ${begin}`);
      }
    }
    for (const roots of [shown.roots, shown.history.roots]) {
      if (!equal(roots.get(this.seq) ?? this.root, this.root)) throw conflict(`it has another root at seq ${this.seq}`);
    }
    if (shown.seq >= this.seq && shown.epoch < epoch && !this.#isOwnCheckpoint(shown)) {
      throw conflict(`it has the electorate of epoch ${shown.epoch} certify seq ${shown.seq}`);
    }
  }

  #isOwnCheckpoint(shown) {
    const root = rootAt(shown, this.seq);
    return shown.seq === this.seq && root !== undefined && equal(root, this.root);
  }

  /**
   * The trust state that evidence leads to from this one; this one if it is not newer. It must show that its lineage
   * began with the trusted one, by its leaves or a consistency proof.
   */
  advance(shown) {
    if (!this.ties(shown)) throw notShown();
    if (shown.seq <= this.seq) return this;
    const { newest } = shown.history;
    if (newest.epoch !== shown.epoch) throw new VerificationError(`its links lead to epoch ${newest.epoch}`, "no_trust");
    const root = rootAt(shown, this.seq);
    if (root === undefined) {
      throw new VerificationError(`nothing in it leads from the trusted root at seq ${this.seq}`, "not_linked");
    }
    return new Trust(this.cluster, newest, shown.seq, rootAt(shown, shown.seq));
  }
}

/** For evidence of the past that nothing ties to the trusted history. */
export const notShown = () =>
  new VerificationError("signed by an electorate that has left; not shown to be in the history you trust", "not_shown");

const conflict = (why) =>
  new VerificationError(`${why}, unlike the trust state: there are two histories of this cluster; keep this file`, "conflict");
