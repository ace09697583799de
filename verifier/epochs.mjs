// Who may cosign, proven from the genesis alone: the chain of epochs (docs/formats.md §12, "Links").

import { equal, fromBase64, utf8 } from "./bytes.mjs";
import { demandExact, verifyCertificate } from "./certificate.mjs";
import { electorateOf } from "./electorate.mjs";
import { certificateInvalid, decoding, lineageInconsistent, malformed, VerificationError, wrongEpoch } from "./errors.mjs";
import { decodeLeaf } from "./leaf.mjs";
import { verifyInclusion } from "./merkle.mjs";
import { list, mapOf, record, text, whole } from "./shapes.mjs";
import { sectionDigest } from "./trie.mjs";

const linkShape = record({
  epoch: whole({ least: 2 }),
  leaf: text(),
  records: mapOf(text()),
  note: text(),
  proof: list(text()),
});

/** Decode the field `epochs` of an evidence file. */
export function decodeLinks(value) {
  return decoding(malformed, () =>
    list(linkShape)(value, "epochs").map((file) => ({
      epoch: file.epoch,
      leaf: fromBase64(file.leaf, "leaf"),
      records: new Map([...file.records].map(([key, item]) => [key, fromBase64(item, key)])),
      note: utf8(file.note),
      proof: file.proof.map((node) => fromBase64(node, "proof")),
    })),
  );
}

/** Electorates that are proven, and from which seq on each is in force. */
export class EpochHistory {
  constructor(genesis) {
    this.genesis = genesis;
    this.known = [{ seq: 1, electorate: genesis.electorate }];
    // By seq: the certified root of each change that a link has proven.
    this.roots = new Map();
  }

  /** Knows an electorate that is trusted, and neither when it began nor what was before it. */
  static beginningWith(electorate, genesis) {
    const history = new EpochHistory(genesis);
    history.known = [{ seq: 1, electorate }];
    return history;
  }

  /** Whether the electorate changed at `seq`. */
  isChange(seq) {
    return this.known.slice(1).some((item) => item.seq === seq);
  }

  get newest() {
    return this.known.at(-1).electorate;
  }

  /** Every electorate, in order. */
  get electorates() {
    return this.known.map(({ electorate }) => electorate);
  }

  /** Whose quorums a certificate for `seq` needs: at a change those of both sides. */
  judges(seq) {
    const place = this.known.findLastIndex((item) => item.seq <= seq);
    if (place < 0) throw lineageInconsistent(`no lineage has a seq ${seq}`);
    const isChange = place > 0 && this.known[place].seq === seq;
    return this.electorates.slice(isChange ? place - 1 : place, place + 1);
  }

  /** The electorate of an epoch; what the links do not lead to is unknown. */
  electorate(epoch) {
    const found = this.electorates.find((item) => item.epoch === epoch);
    if (found === undefined) throw new VerificationError(`nothing leads to epoch ${epoch}`, "epoch_unknown");
    return found;
  }

  /** Refuse a state of `epoch` at a seq at which another one was in force: former members certify nothing later. */
  demandInForce(epoch, seq) {
    const found = this.judges(seq).at(-1).epoch;
    if (found !== epoch) throw wrongEpoch(`at seq ${seq} epoch ${found} was in force, not ${epoch}`);
  }

  /** Take in the next epoch, which the caller has proven. */
  learn(seq, electorate) {
    if (electorate.epoch !== this.newest.epoch + 1 || seq <= this.known.at(-1).seq) {
      throw lineageInconsistent(`epoch ${electorate.epoch} does not follow epoch ${this.newest.epoch}`);
    }
    this.known.push({ seq, electorate });
  }

  /** Verify the next link and take in its electorate. */
  async verify(link) {
    const name = `epoch ${link.epoch}`;
    const { origin } = this.genesis;
    const leaf = decoding(
      (message) => lineageInconsistent(`${name}: its leaf cannot be read: ${message}`),
      () => decodeLeaf(link.leaf),
    );
    if (link.epoch !== leaf.epoch || leaf.epoch !== this.newest.epoch + 1 || leaf.seq <= this.known.at(-1).seq) {
      throw lineageInconsistent(`${name} does not follow epoch ${this.newest.epoch}`);
    }
    const certified = leaf.sections.get("electorate");
    if (certified === undefined || !equal(await sectionDigest(link.records), certified)) {
      throw lineageInconsistent(`${name}: its records are not those of its leaf`);
    }
    // The electorate that is trusted so far stands for the records before they are decoded.
    const checkpoint = await verifyCertificate(link.note, [this.newest], origin);
    if (checkpoint.seq !== leaf.seq) throw certificateInvalid(`${name}: certified is seq ${checkpoint.seq}, not the change`);
    await verifyInclusion(link.leaf, leaf.seq, leaf.seq, link.proof, checkpoint.root);
    const electorate = nextElectorate(link.records, link.epoch, this.genesis);
    await verifyCertificate(link.note, [this.newest, electorate], origin);
    this.learn(leaf.seq, electorate);
    this.roots.set(leaf.seq, checkpoint.root);
  }
}

/** The electorate of an epoch that certified records say. */
export function nextElectorate(records, epoch, genesis) {
  const electorate = decoding(
    (message) => lineageInconsistent(`epoch ${epoch}: its records cannot be read: ${message}`),
    () => electorateOf(records),
  );
  if (electorate === null || electorate.epoch !== epoch || electorate.voters.length === 0) {
    throw lineageInconsistent(`epoch ${epoch}: its records are of no such electorate`);
  }
  if (electorate.rule !== genesis.quorum) throw lineageInconsistent(`epoch ${epoch} has another quorum rule`);
  return electorate;
}

/** The history that the field `epochs` of an evidence file proves. `exact`: each byte of it must count. */
export const openHistory = (genesis, value, options) => historyOf(genesis, decodeLinks(value), options);

/** The history that links prove. */
export async function historyOf(genesis, links, { exact = false } = {}) {
  const history = new EpochHistory(genesis);
  for (const link of links) {
    const before = history.newest;
    await history.verify(link);
    if (exact) await demandExact(link.note, [before, history.newest], genesis.origin);
  }
  return history;
}
