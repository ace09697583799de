// What a quorum certificate proves (docs/formats.md §8). At the seq of a change of the electorate it is judged by two:
// the one before it first, then the one after it.

import { compareText, equal, hex, toBase64 } from "./bytes.mjs";
import { certificateInvalid, decoding } from "./errors.mjs";
import { isValid } from "./keys.mjs";
import { cosignatureKeyId, cosignedMessage, decodeCheckpoint, formatNote, keyName, parseNote } from "./note.mjs";

/** One voter under one key: a rotated id is two. */
export const voteOf = ({ id, public_key }) => `${id} ${toBase64(public_key)}`;

const lineOf = ({ name, keyId }) => `${name} ${hex(keyId)}`;

async function ownLine(origin, { id, public_key }) {
  const name = keyName(origin, id);
  return lineOf({ name, keyId: await cosignatureKeyId(name, public_key) });
}

/** null if a quorum of each electorate is among these votes, else how many of how many distinct keys there are. */
export function lackOfQuorum(votes, electorates) {
  for (const electorate of electorates) {
    const voted = electorate.voters.filter((voter) => votes.has(voteOf(voter)));
    const count = new Set(voted.map((voter) => toBase64(voter.public_key))).size;
    if (count < electorate.quorum) return `${count} of ${electorate.quorum}`;
  }
  return null;
}

/** The checkpoint of which a quorum of each electorate is shown to have cosigned. */
export async function verifyCertificate(bytes, electorates, origin) {
  const { note, checkpoint } = readNote(bytes);
  if (checkpoint.origin !== origin) throw certificateInvalid("the certificate is of another cluster");
  const lacking = lackOfQuorum(await cosigners(note, electorates, origin), electorates);
  if (lacking !== null) throw certificateInvalid(`the certificate has ${lacking} cosignatures`);
  return checkpoint;
}

function readNote(bytes) {
  return decoding(
    (message) => certificateInvalid(`the certificate cannot be read: ${message}`),
    () => {
      const note = parseNote(bytes);
      return { note, checkpoint: decodeCheckpoint(note.body) };
    },
  );
}

async function cosigners(note, electorates, origin) {
  const known = new Map();
  for (const electorate of electorates) {
    for (const member of electorate.members) known.set(await ownLine(origin, member), member);
  }
  // A line of a known key that does not hold refuses the whole: counting around it would hide a forgery.
  for (const other of note.others) {
    if (known.has(lineOf(other))) throw certificateInvalid(`a malformed cosignature of \`${other.name}\``);
  }
  const votes = new Set();
  for (const item of note.signatures) {
    const member = known.get(lineOf(item));
    if (member === undefined) continue;
    if (!(await isValid(member.public_key, item.signature, cosignedMessage(note.body, item.timeS)))) {
      throw certificateInvalid(`the certificate has an invalid cosignature of \`${member.id}\``);
    }
    votes.add(voteOf(member));
  }
  return votes;
}

/**
 * What a certificate proves by a history of epochs: {seq, root, epoch, cosigners}. Whoever was not shown all changes
 * up to now must know the epoch from elsewhere: a quorum that left could still certify for him.
 */
export async function proveCheckpoint(bytes, genesis, history) {
  const { note, checkpoint } = readNote(bytes);
  const judges = history.judges(checkpoint.seq);
  await verifyCertificate(bytes, judges, genesis.origin);
  const signed = new Set(note.signatures.map(lineOf));
  const found = new Set();
  for (const voter of judges.flatMap((electorate) => electorate.voters)) {
    if (signed.has(await ownLine(genesis.origin, voter))) found.add(voter.id);
  }
  return {
    seq: checkpoint.seq,
    root: checkpoint.root,
    epoch: judges.at(-1).epoch,
    cosigners: [...found].sort(compareText),
  };
}

/** Refuse a certificate that holds more than cosignatures of voters, each once and sorted. */
export async function demandExact(bytes, electorates, origin) {
  const note = parseNote(bytes);
  const known = new Set();
  for (const voter of electorates.flatMap((electorate) => electorate.voters)) known.add(await ownLine(origin, voter));
  const kept = new Map(note.signatures.filter((item) => known.has(lineOf(item))).map((item) => [lineOf(item), item]));
  const sorted = [...kept.values()].sort(
    (one, other) => compareText(one.name, other.name) || compareBytes(one.keyId, other.keyId),
  );
  if (!equal(formatNote(note.body, sorted), bytes)) {
    throw certificateInvalid("the certificate holds more than cosignatures of voters, each once and sorted");
  }
}

const compareBytes = (one, other) => compareText(hex(one), hex(other));
