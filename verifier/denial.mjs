// Denial files: one node's word (docs/formats.md §12).

import { envelopeShape, openSealed, signingMembers } from "./envelope.mjs";
import { openHistory } from "./epochs.mjs";
import { decoding, malformed, signatureInvalid, wrongCluster } from "./errors.mjs";
import { readFile } from "./files.mjs";
import { demandRequest } from "./permit.mjs";
import { anything, list, mapOf, oneOf, record } from "./shapes.mjs";
import { decodeDenial } from "./statements.mjs";

export const DENIAL_FORMAT = "govraft.denial.v1";
const DENIAL_TYPE = "application/vnd.govraft.denial.v1+json";

const shape = record({ format: oneOf(DENIAL_FORMAT), envelope: envelopeShape, epochs: list(mapOf(anything)) });

/** What a denial file proves. `use`: {request}. */
export async function proveDenial(bytes, genesis, { request }) {
  const file = readFile(bytes, shape);
  const envelope = decoding(malformed, () => openSealed(file.envelope, DENIAL_TYPE));
  const statement = decoding(malformed, () => decodeDenial(envelope.payload));
  if (statement.cluster !== genesis.clusterId) throw wrongCluster("the denial is of another cluster");
  const history = await openHistory(genesis, file.epochs, { exact: true });
  const member = history.electorate(statement.epoch).find(statement.node);
  if (member === undefined) throw signatureInvalid(`\`${statement.node}\` was no member in epoch ${statement.epoch}`);
  const signers = await signingMembers(envelope, [member]);
  if (signers.length !== 1) throw signatureInvalid(`the denial is not signed by \`${member.id}\``);
  await demandRequest(request, statement.request_digest);
  const { cluster: _, ...fields } = statement;
  const shown = { history, epoch: statement.epoch, seq: 0, roots: new Map() };
  return { shown, proven: { kind: "denial", ...fields } };
}
