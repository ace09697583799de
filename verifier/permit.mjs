// Permit files (docs/formats.md §12).

import { hex, utf8 } from "./bytes.mjs";
import { demandExact, verifyCertificate } from "./certificate.mjs";
import { envelopeShape, openSealed, signingMembers } from "./envelope.mjs";
import { openHistory } from "./epochs.mjs";
import {
  decoding,
  decodingAsync,
  lineageInconsistent,
  malformed,
  thresholdUnmet,
  VerificationError,
  wrongCluster,
} from "./errors.mjs";
import { readBytes, readFile, readNodes } from "./files.mjs";
import { decodeLeaf } from "./leaf.mjs";
import { verifyInclusion } from "./merkle.mjs";
import { parseNote } from "./note.mjs";
import { anything, list, mapOf, oneOf, record, text } from "./shapes.mjs";
import { decodePermit, requestDigest } from "./statements.mjs";

export const PERMIT_FORMAT = "govraft.permit.v1";
const CERTIFICATE_AGE_MOST_MS = 24 * 60 * 60 * 1000;
const PERMIT_TYPE = "application/vnd.govraft.permit.v1+json";

const shape = record({
  format: oneOf(PERMIT_FORMAT),
  envelope: envelopeShape,
  leaf: text(),
  proof: list(text()),
  certificate: text(),
  epochs: list(mapOf(anything)),
});

/** What a permit file proves. `use`: {at, request, audience, atLeast, trust}. */
export async function provePermit(bytes, genesis, use) {
  const file = readFile(bytes, shape);
  const envelope = decoding(malformed, () => openSealed(file.envelope, PERMIT_TYPE));
  const statement = await decodingAsync(malformed, () => decodePermit(envelope.payload));
  if (statement.cluster !== genesis.clusterId) throw wrongCluster("the permit is of another cluster");
  const history = await openHistory(genesis, file.epochs, { exact: true });
  const electorate = history.electorate(statement.epoch);
  const signers = await signingMembers(envelope, electorate.voters);
  if (signers.length < electorate.quorum) {
    throw thresholdUnmet(`the permit has ${signers.length} of ${electorate.quorum} signatures`);
  }
  const checkpoint = await proveState(file, statement, history, genesis);
  const shown = { history, epoch: statement.epoch, seq: checkpoint.seq, roots: new Map([[checkpoint.seq, checkpoint.root]]) };
  if (use.trust !== null) use.trust.demandCurrent(shown);
  await checkUse(statement, genesis, use);
  const { cluster: _, ...fields } = statement;
  return { shown, proven: { kind: "permit", ...fields, voters: signers.map((member) => member.id).sort() } };
}

async function proveState(file, statement, history, genesis) {
  history.demandInForce(statement.epoch, statement.seq);
  const judges = [history.electorate(statement.epoch)];
  const note = utf8(file.certificate);
  const checkpoint = await verifyCertificate(note, judges, genesis.origin);
  await demandExact(note, judges, genesis.origin);
  const bytes = readBytes(file.leaf, "leaf");
  const leaf = decoding(malformed, () => decodeLeaf(bytes));
  const proof = readNodes(file.proof);
  await verifyInclusion(bytes, leaf.seq, checkpoint.seq, proof, checkpoint.root);
  const isSame = statement.seq === checkpoint.seq && statement.seq === leaf.seq && statement.epoch === leaf.epoch;
  if (!isSame || statement.state_root !== hex(leaf.state_root)) {
    throw lineageInconsistent("the permit speaks of another state than its leaf and certificate");
  }
  if (!history.isChange(statement.seq)) demandFresh(note, judges[0], statement.issued);
  return checkpoint;
}

// Nodes certify their state anew all the time; only the certificate with which an electorate begins is made once.
function demandFresh(note, electorate, issued) {
  const ages = parseNote(note).signatures.map(({ timeS }) => Math.abs(Number(timeS) * 1000 - issued));
  if (ages.filter((age) => age <= CERTIFICATE_AGE_MOST_MS).length < electorate.quorum) {
    throw new VerificationError("no quorum certified its state within a day of its issue", "stale_certificate");
  }
}

async function checkUse(statement, genesis, { at, request, audience, atLeast }) {
  if (statement.issued > at + genesis.clock_skew_max_ms) {
    throw new VerificationError("the permit is not valid yet: is this clock right?", "not_yet_valid");
  }
  if (at >= statement.not_after) throw new VerificationError("the permit has run out, ask for another one", "expired");
  if (statement.seq < atLeast) {
    throw new VerificationError(`the permit rests on seq ${statement.seq}, older than ${atLeast}`, "superseded");
  }
  if (statement.audience !== null && statement.audience !== audience) {
    throw new VerificationError("the permit is for another audience", "audience_mismatch");
  }
  await demandRequest(request, statement.request_digest);
}

/** Refuse a statement about another request than the one that was given, if one was. */
export async function demandRequest(request, digest) {
  if (request === null) return;
  const mismatch = (message) => new VerificationError(`of another request: ${message}`, "request_mismatch");
  const own = await decodingAsync(mismatch, () => requestDigest(request));
  if (own !== digest) throw mismatch("its digest differs");
}
