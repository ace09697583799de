// What a whole lease proves (docs/formats.md §9): that a quorum answered exactly this probe, and that every holder whom
// any of them may still have granted an older state has itself moved on.

import { compareText, equal } from "./bytes.mjs";
import { lackOfQuorum, verifyCertificate, voteOf } from "./certificate.mjs";
import { certificateInvalid, decoding, decodingAsync, signatureInvalid, wrongEpoch } from "./errors.mjs";
import { isValid } from "./keys.mjs";
import { decodeAck, decodeLease, decodeProbe, probeDigest, signedMessage } from "./messages.mjs";
import { cosignedMessage, encodeCheckpoint } from "./note.mjs";

/** The member whose key signed it, of the newest electorate that has that key. */
async function openSigned(signed, electorates, genesis) {
  const known = electorates.map((electorate) => electorate.find(signed.signer)).filter((member) => member !== undefined);
  if (known.length === 0) throw certificateInvalid(`${signed.kind} is signed by nobody who is a member`);
  const message = signedMessage(signed, genesis);
  for (const member of known.reverse()) {
    if (await isValid(member.public_key, signed.signature, message)) return member;
  }
  throw signatureInvalid(`${signed.kind} has an invalid signature of \`${signed.signer}\``);
}

/** The member that signed an ack, and the ack. Throws DecodeError for a malformed one. */
export async function openAck(signed, electorates, genesis) {
  const member = await openSigned(signed, electorates, genesis);
  const ack = decodeAck(signed.body);
  if (ack.node !== member.id) throw certificateInvalid(`an ack of another node is signed by \`${member.id}\``);
  return { member, ack };
}

/**
 * Verify a lease: {checkpoint, voters, acks}.
 *
 * `signed` is the decoded wrapper; `electorates` are those of its epoch, at its change also the one before it.
 */
export async function verifyLease(signed, electorates, genesis) {
  const unreadable = (message) => certificateInvalid(`the lease cannot be read: ${message}`);
  const sender = await openSigned(signed, electorates, genesis);
  const { lease, probe } = decoding(unreadable, () => {
    const decoded = decodeLease(signed.body);
    return { lease: decoded, probe: decodeProbe(decoded.probe.body) };
  });
  const author = await openSigned(lease.probe, electorates, genesis);
  const acks = [];
  for (const item of lease.acks) acks.push(await decodingAsync(unreadable, () => openAck(item, electorates, genesis)));
  if (voteOf(sender) !== voteOf(author) || author.id !== probe.leader) {
    throw certificateInvalid("lease, probe and leader are not of one node");
  }
  const { epoch } = electorates.at(-1);
  if (probe.epoch !== epoch) throw wrongEpoch(`the lease is of epoch ${probe.epoch}, not of ${epoch}`);
  for (const item of acks) await verifyTime(item, probe, genesis);
  const voters = await grantingVoters(lease, probe, acks, electorates);
  const checkpoint = await verifyCertificate(lease.note, electorates, genesis.origin);
  const asked = probe.checkpoint;
  if (asked.origin !== checkpoint.origin || asked.seq !== checkpoint.seq || !equal(asked.root, checkpoint.root)) {
    throw certificateInvalid("certificate and probe are of different checkpoints");
  }
  return { checkpoint, voters, acks: acks.map(({ ack }) => ack) };
}

// The time of an ack is what its node cosigned, and no honest node acks later than a round may take.
async function verifyTime({ member, ack }, probe, genesis) {
  const body = encodeCheckpoint({ origin: genesis.origin, seq: ack.seq, root: ack.root });
  if (!(await isValid(member.public_key, ack.cosignature, cosignedMessage(body, ack.time_s)))) {
    throw certificateInvalid(`an ack of \`${member.id}\` has an invalid cosignature`);
  }
  if (probe.wall !== undefined && BigInt(ack.time_s) * 1000n > BigInt(probe.wall) + lateMs(genesis)) {
    throw certificateInvalid(`an ack of \`${member.id}\` is dated long after the probe of the lease`);
  }
}

// The skew and a grant, L(1 + drift), up to the next whole second, and one second more.
function lateMs({ lease_ms, clock_drift_max_ppm, clock_skew_max_ms }) {
  const ns = BigInt(clock_skew_max_ms) * 1_000_000n + BigInt(lease_ms) * BigInt(1_000_000 + clock_drift_max_ppm);
  return ((ns + 999_999_999n) / 1_000_000_000n + 1n) * 1000n;
}

async function grantingVoters(lease, probe, acks, electorates) {
  const digest = await probeDigest(lease.probe);
  const { seq, root } = probe.checkpoint;
  // Whoever holds an older lease holds it under its key of the electorate before a change.
  const isHolder = (member) => {
    const found = electorates[0].find(member.id);
    return found !== undefined && voteOf(found) === voteOf(member);
  };
  const movedOn = new Set(acks.filter(({ member, ack }) => ack.seq >= seq && isHolder(member)).map(({ member }) => member.id));
  const votes = new Set();
  for (const { member, ack } of acks) {
    const isOfProbe = equal(ack.probe, digest) && ack.round === probe.round && ack.seq === seq && equal(ack.root, root);
    if (isOfProbe && ack.outstanding.every((id) => movedOn.has(id))) votes.add(voteOf(member));
  }
  const lacking = lackOfQuorum(votes, electorates);
  if (lacking !== null) throw certificateInvalid(`the lease has acks of ${lacking} voters`);
  const voters = electorates.flatMap((electorate) => electorate.voters).filter((voter) => votes.has(voteOf(voter)));
  return [...new Set(voters.map((voter) => voter.id))].sort(compareText);
}
