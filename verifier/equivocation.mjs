// Equivocation files: one node signed two roots for one seq (docs/formats.md §12).

import { equal, hex, utf8 } from "./bytes.mjs";
import { openHistory } from "./epochs.mjs";
import { certificateInvalid, decodingAsync, VerificationError, wrongCluster } from "./errors.mjs";
import { readBytes, readFile } from "./files.mjs";
import { isValid } from "./keys.mjs";
import { openAck } from "./lease.mjs";
import { decodeSigned } from "./messages.mjs";
import { cosignatureKeyId, cosignedMessage, decodeCheckpoint, keyName, parseNote } from "./note.mjs";
import { anything, list, mapOf, oneOf, record, text } from "./shapes.mjs";

export const EQUIVOCATION_FORMAT = "govraft.equivocation.v1";
const CERTIFICATE_CODES = ["certificate_invalid", "signature_invalid", "no_equivocation"];

const shape = record({
  format: oneOf(EQUIVOCATION_FORMAT),
  cluster: text(),
  first: text(),
  second: text(),
  epochs: list(mapOf(anything)),
});

/** What an equivocation file proves. The keys of each epoch that it leads to are tried. */
export async function proveEquivocation(bytes, genesis) {
  const file = readFile(bytes, shape);
  if (file.cluster !== genesis.clusterId) throw wrongCluster("the evidence is of another cluster");
  const messages = [readBytes(file.first, "first"), readBytes(file.second, "second")];
  let failure = null;
  const history = await openHistory(genesis, file.epochs, { exact: true });
  for (const electorate of history.electorates) {
    try {
      const { member, proven } = await contradiction(messages, electorate, genesis);
      const hasKey = (later) => equal(later.find(member.id)?.public_key ?? new Uint8Array(), member.public_key);
      // The last epoch in which the node had that key.
      const { epoch } = history.electorates.findLast(hasKey);
      return { shown: { history, epoch, seq: 0, roots: new Map() }, proven };
    } catch (error) {
      if (!CERTIFICATE_CODES.includes(error.code)) throw error;
      failure = error;
    }
  }
  throw failure;
}

async function contradiction(messages, electorate, genesis) {
  const [one, other] = [await read(messages[0], electorate, genesis), await read(messages[1], electorate, genesis)];
  const innocent = (message) => new VerificationError(message, "no_equivocation");
  if (one.member !== other.member) throw innocent("two nodes signed them");
  if (one.seq !== other.seq || equal(one.root, other.root)) {
    throw innocent(`\`${one.member.id}\` signed no two roots for one seq`);
  }
  const proven = {
    kind: "equivocation",
    node: one.member.id,
    public_key: hex(one.member.public_key),
    epoch: electorate.epoch,
    seq: one.seq,
    roots: [hex(one.root), hex(other.root)],
  };
  return { member: one.member, proven };
}

/** Who said which root of which seq: a signed ack, or a note with one cosignature. */
function read(bytes, electorate, genesis) {
  const unreadable = (message) => certificateInvalid(`neither an ack nor a cosigned note: ${message}`);
  const start = utf8(genesis.origin);
  return decodingAsync(unreadable, async () => {
    if (equal(bytes.subarray(0, start.length), start)) return readNote(bytes, electorate, genesis);
    const { member, ack } = await openAck(decodeSigned(bytes, "ack"), [electorate], genesis);
    return { member, seq: ack.seq, root: ack.root };
  });
}

async function readNote(bytes, electorate, genesis) {
  const note = parseNote(bytes);
  const checkpoint = decodeCheckpoint(note.body);
  const [line] = note.signatures;
  if (checkpoint.origin !== genesis.origin || note.signatures.length !== 1 || note.others.length > 0) {
    throw certificateInvalid("a note that accuses is of this cluster and carries one cosignature");
  }
  for (const member of electorate.members) {
    const name = keyName(genesis.origin, member.id);
    if (line.name !== name || !equal(line.keyId, await cosignatureKeyId(name, member.public_key))) continue;
    if (await isValid(member.public_key, line.signature, cosignedMessage(note.body, line.timeS))) {
      return { member, seq: checkpoint.seq, root: checkpoint.root };
    }
  }
  throw certificateInvalid("the cosignature is no member's");
}
