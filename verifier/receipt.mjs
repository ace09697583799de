// Receipt files: one command took effect, and since when nobody can have missed it (docs/formats.md §12).

import { equal, hex, integer } from "./bytes.mjs";
import { decodeCommand } from "./commands.mjs";
import { digest } from "./digests.mjs";
import { decodeEnvelope } from "./envelope.mjs";
import { openHistory } from "./epochs.mjs";
import { decoding, lineageInconsistent, malformed, wrongCluster } from "./errors.mjs";
import { readBytes, readNodes } from "./files.mjs";
import { parseJson } from "./json.mjs";
import { decodeLeaf } from "./leaf.mjs";
import { verifyLease } from "./lease.mjs";
import { rootUpTo, verifyInclusion } from "./merkle.mjs";
import { decodeSigned } from "./messages.mjs";
import { pack } from "./msgpack.mjs";
import { anything, list, mapOf, oneOf, record, text, whole } from "./shapes.mjs";
import { PERMIT_LIFE_MOST_MS } from "./statements.mjs";

export const RECEIPT_FORMAT = "govraft.receipt.v2";
const STAMPS_TRIED_MS = 2000;
const TIME_MOST_MS = 253_402_300_799_999n; // The end of the year 9999.
const HEADER = ["cluster", "command_id", "not_after"];

const shape = record({
  format: oneOf(RECEIPT_FORMAT),
  cluster: text(),
  command_id: text(),
  outcome: text(),
  seq: whole(),
  certified_seq: whole(),
  leaf: text(),
  proof: list(text()),
  lease: text(),
  epochs: list(mapOf(anything)),
  envelope: text(),
});

/** What a receipt file proves. */
export async function proveReceipt(bytes, genesis) {
  const file = decoding(malformed, () => shape(parseJson(bytes), "receipt"));
  const [leafBytes, envelope] = [readBytes(file.leaf, "leaf"), readBytes(file.envelope, "envelope")];
  const leaf = decoding(malformed, () => decodeLeaf(leafBytes));
  const command = decoding(malformed, () => decodeCommand(decodeEnvelope(envelope)));
  if (file.cluster !== genesis.clusterId || command.fields.cluster !== genesis.clusterId) {
    throw wrongCluster("the receipt is of another cluster");
  }
  const history = await openHistory(genesis, file.epochs);
  const leaseBytes = readBytes(file.lease, "lease");
  const signed = decoding(malformed, () => decodeSigned(leaseBytes, "lease"));
  const { checkpoint, voters, acks } = await verifyLease(signed, history.judges(file.certified_seq), genesis);
  const until = ends(acks, genesis);
  const proof = readNodes(file.proof);
  await verifyInclusion(leafBytes, leaf.seq, checkpoint.seq, proof, checkpoint.root);
  const isSame = file.seq === leaf.seq && file.outcome === leaf.outcome && file.certified_seq === checkpoint.seq;
  if (!isSame || file.command_id !== command.fields.command_id) {
    throw lineageInconsistent("the receipt says something else than its leaf and certificate");
  }
  if (leaf.epoch !== history.judges(leaf.seq).at(-1).epoch) {
    throw lineageInconsistent(`the receipt's leaf is of epoch ${leaf.epoch}, another was in force`);
  }
  await bind(leaf, envelope);
  const roots = new Map([[leaf.seq, await rootUpTo(leafBytes, leaf.seq, checkpoint.seq, proof)]]);
  roots.set(checkpoint.seq, checkpoint.root);
  const shown = { history, epoch: history.judges(checkpoint.seq).at(-1).epoch, seq: checkpoint.seq, roots };
  const proven = {
    kind: "receipt",
    command: command.name,
    command_id: command.fields.command_id,
    outcome: leaf.outcome,
    command_seq: leaf.seq,
    time: leaf.time,
    fields: ownFields(command.fields),
    seq: checkpoint.seq,
    root: hex(checkpoint.root),
    voters,
    ...until,
  };
  return { shown, proven };
}

// After the end of the second of the latest ack, by any honest clock.
function ends(acks, genesis) {
  const latest = acks.map((ack) => BigInt(ack.time_s)).reduce((one, other) => (one > other ? one : other));
  const until = (latest + 1n) * 1000n + BigInt(genesis.clock_skew_max_ms);
  if (until + BigInt(PERMIT_LIFE_MOST_MS) > TIME_MOST_MS) throw malformed("an ack of the receipt is dated past the year 9999");
  return {
    nodes_until: integer(until),
    clients_until: integer(until + BigInt(genesis.lease_ms)),
    permits_until: integer(until + BigInt(PERMIT_LIFE_MOST_MS)),
  };
}

// The entry's own time stamp is not in the leaf; the machine's time is, which may be later, if a clock was behind.
async function bind(leaf, envelope) {
  const from = BigInt(leaf.time);
  for (let stamp = from; stamp > 0n && stamp > from - BigInt(STAMPS_TRIED_MS); stamp -= 1n) {
    const entry = pack({ v: 1, time: stamp, envelope });
    if (equal(await digest("entry", entry), leaf.entry_digest)) return;
  }
  throw lineageInconsistent("the receipt's leaf is not shown to be that of its envelope");
}

// A field that says what it would say if it were left out bounds nothing.
function ownFields(fields) {
  const isEmpty = (name, value) => name in { windows: 0, regions: 0 } && value.length === 0;
  const isNone = (name, value) => name in { subject: 0, action: 0, rate: 0, level_max: 0 } && value === null;
  return Object.fromEntries(
    Object.entries(fields).filter(
      ([name, value]) => !HEADER.includes(name) && !isEmpty(name, value) && !isNone(name, value),
    ),
  );
}
