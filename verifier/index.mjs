// Verifies the evidence of a govraft cluster, from its genesis and nothing else.
//
// It needs WebCrypto with Ed25519 and no packages: the same files run in browsers and in Node 20 and later. It was
// written from docs/formats.md, apart from the verifier in Python; where the two differ, one of them is wrong.

import { proveCheckpoint } from "./certificate.mjs";
import { DENIAL_FORMAT, proveDenial } from "./denial.mjs";
import { EpochHistory } from "./epochs.mjs";
import { EQUIVOCATION_FORMAT, proveEquivocation } from "./equivocation.mjs";
import { decoding, malformed } from "./errors.mjs";
import { FILE_BYTES_MAX } from "./files.mjs";
import { hex, utf8 } from "./bytes.mjs";
import { decodeGenesis } from "./genesis.mjs";
import { parseJson } from "./json.mjs";
import { LINEAGE_FORMAT, proveLineage } from "./lineage.mjs";
import { PERMIT_FORMAT, provePermit } from "./permit.mjs";
import { PROOF_FORMAT, proveLeaf } from "./proof.mjs";
import { proveReceipt, RECEIPT_FORMAT } from "./receipt.mjs";
import { isSnapshot, proveSnapshot } from "./snapshot.mjs";

export { DecodeError, VerificationError } from "./errors.mjs";

const SPACE = [0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x20];
const KINDS = new Map([
  [PERMIT_FORMAT, provePermit],
  [DENIAL_FORMAT, proveDenial],
  [RECEIPT_FORMAT, proveReceipt],
  [PROOF_FORMAT, proveLeaf],
  [EQUIVOCATION_FORMAT, proveEquivocation],
]);

/**
 * Verify an evidence file of any kind.
 *
 * @param {Uint8Array} bytes The whole file.
 * @param {Uint8Array} genesisBytes The genesis file, which is trusted.
 * @param {object} [use] For what the evidence is looked at.
 * @param {number} [use.at] Now, in milliseconds since 1970, by the verifier's own clock.
 * @param {object} [use.request] {principal, action, resource, context} that a permit or denial must be about.
 * @param {string} [use.audience] Who verifies: a permit for another audience is void.
 * @param {number} [use.atLeast] A seq that is known to be effective: a permit on an older state is void.
 * @returns {Promise<object>} What is proven: `kind`, and fields of that kind. Nothing is in it that is not proven.
 * @throws {VerificationError} It proves nothing; `code` says why.
 * @throws {DecodeError} The genesis is none.
 */
export async function verify(bytes, genesisBytes, { at = Date.now(), request = null, audience = null, atLeast = 0 } = {}) {
  if (!Number.isSafeInteger(at) || !Number.isSafeInteger(atLeast)) throw new TypeError("`at` and `atLeast` are integers");
  const genesis = await decodeGenesis(genesisBytes);
  if (isSnapshot(bytes)) return proveSnapshot(bytes, genesis);
  if (isLineage(bytes)) return proveLineage(bytes, genesis);
  if (bytes.length > FILE_BYTES_MAX) throw malformed("this is no evidence that govraft knows");
  if (bytes[bytes.findIndex((byte) => !SPACE.includes(byte))] !== 0x7b) return proveNote(bytes, genesis);
  const fields = decoding(malformed, () => parseJson(bytes));
  const prove = KINDS.get(fields.get("format"));
  if (prove === undefined) throw malformed("this is no evidence that this version knows");
  return prove(bytes, genesis, { at, request, audience, atLeast });
}

/** Whether the first line names the format of lineage exports. */
function isLineage(bytes) {
  const end = bytes.indexOf(0x0a);
  const line = end < 0 ? bytes : bytes.subarray(0, end);
  const name = utf8(LINEAGE_FORMAT);
  for (let place = line.indexOf(name[0]); place >= 0; place = line.indexOf(name[0], place + 1)) {
    if (name.every((byte, offset) => byte === line[place + offset])) return true;
  }
  return false;
}

async function proveNote(bytes, genesis) {
  const checkpoint = await proveCheckpoint(bytes, genesis, new EpochHistory(genesis));
  return { kind: "certificate", ...checkpoint, root: hex(checkpoint.root) };
}
