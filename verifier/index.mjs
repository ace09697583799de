// Verifies the evidence of a govraft cluster, from its genesis, and from a trust state if one was given.
//
// It needs WebCrypto with Ed25519 and no packages: the same files run in browsers and in Node 20 and later. It was
// written from docs/formats.md, apart from the verifier in Python; where the two differ, one of them is wrong.

import { proveCheckpoint } from "./certificate.mjs";
import { DENIAL_FORMAT, proveDenial } from "./denial.mjs";
import { EpochHistory } from "./epochs.mjs";
import { EQUIVOCATION_FORMAT, proveEquivocation } from "./equivocation.mjs";
import { decoding, malformed, VerificationError } from "./errors.mjs";
import { FILE_BYTES_MAX } from "./files.mjs";
import { hex } from "./bytes.mjs";
import { decodeGenesis } from "./genesis.mjs";
import { parseJson } from "./json.mjs";
import { LINEAGE_FORMAT, proveLineage } from "./lineage.mjs";
import { PERMIT_FORMAT, provePermit } from "./permit.mjs";
import { PROOF_FORMAT, proveLeaf } from "./proof.mjs";
import { proveReceipt, RECEIPT_FORMAT } from "./receipt.mjs";
import { isSnapshot, proveSnapshot } from "./snapshot.mjs";
import { notShown, Trust } from "./trust.mjs";

export { Trust } from "./trust.mjs";
export { DecodeError, VerificationError } from "./errors.mjs";

const SPACE = [0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x20];
const KINDS = new Map([
  [PERMIT_FORMAT, provePermit],
  [DENIAL_FORMAT, proveDenial],
  [RECEIPT_FORMAT, proveReceipt],
  [PROOF_FORMAT, proveLeaf],
  [EQUIVOCATION_FORMAT, proveEquivocation],
]);
const MOVING = new Map([
  [RECEIPT_FORMAT, proveReceipt],
  [PROOF_FORMAT, proveLeaf],
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
 * @param {Uint8Array} [use.trust] A trust file that was given to the verifier. Without it, whoever holds the keys of a
 *   former electorate still makes permits.
 * @param {boolean} [use.isPast] Evidence of the past is wanted, even if nothing ties it to the trusted history.
 * @returns {Promise<object>} What is proven: `kind`, and fields of that kind. Nothing is in it that is not proven.
 *   `trust` says what stands for it: `genesis`, the trust `state`, or `not_shown` with `isPast`.
 * @throws {VerificationError} It proves nothing; `code` says why.
 * @throws {DecodeError} The genesis or the trust file is none.
 */
export async function verify(
  bytes,
  genesisBytes,
  { at = Date.now(), request = null, audience = null, atLeast = 0, trust = null, isPast = false } = {},
) {
  if (!Number.isSafeInteger(at) || !Number.isSafeInteger(atLeast)) throw new TypeError("`at` and `atLeast` are integers");
  const genesis = await decodeGenesis(genesisBytes);
  const state = trust === null ? null : Trust.decode(trust, genesis);
  const { proven, shown } = await prove(bytes, genesis, { at, request, audience, atLeast, trust: state });
  return { ...proven, trust: weigh(proven.kind, shown, state, isPast) };
}

/**
 * The trust file that evidence leads to from another one, without a question: it shows that its lineage began with the
 * trusted one, as lineage exports do, and record proofs made since the trusted seq. The same file if it is not newer.
 *
 * @param {Uint8Array} trust A trust file.
 * @param {Uint8Array} bytes A certificate, receipt, lineage export or record proof.
 * @param {Uint8Array} genesisBytes The genesis file, which is trusted.
 * @returns {Promise<Uint8Array>} The trust file to keep.
 * @throws {VerificationError} It proves nothing, is of another history (`conflict`), or does not lead on.
 * @throws {DecodeError} The genesis or the trust file is none.
 */
export async function advance(trust, bytes, genesisBytes) {
  const genesis = await decodeGenesis(genesisBytes);
  const state = Trust.decode(trust, genesis);
  const use = { at: 0, request: null, audience: null, atLeast: 0, trust: state };
  const { shown } = await prove(bytes, genesis, use, MOVING);
  return state.advance(shown).encode();
}

async function prove(bytes, genesis, use, kinds = KINDS) {
  if (isSnapshot(bytes)) {
    if (kinds === MOVING) throw nothingToTrust();
    return proveSnapshot(bytes, genesis);
  }
  if (isLineage(bytes)) return proveLineage(bytes, genesis, use);
  if (bytes.length > FILE_BYTES_MAX) throw malformed("this is no evidence that govraft knows");
  if (bytes[bytes.findIndex((byte) => !SPACE.includes(byte))] !== 0x7b) return proveNote(bytes, genesis, use);
  const fields = decoding(malformed, () => parseJson(bytes));
  const format = fields.get("format");
  if (kinds === MOVING && typeof format !== "string") throw malformed("`format` is missing, or no text");
  const found = kinds.get(format);
  if (found === undefined && kinds === MOVING) throw nothingToTrust();
  if (found === undefined) throw malformed("this is no evidence that this version knows");
  return found(bytes, genesis, use);
}

// A permit, for one, is what a thief would show.
const nothingToTrust = () =>
  new VerificationError("take a certificate, a receipt, a lineage export or a record proof", "no_trust");

function weigh(kind, shown, trust, isPast) {
  if (trust === null) return "genesis";
  if (kind === "permit" || trust.ties(shown)) return "state";
  if (!isPast) throw notShown();
  return "not_shown";
}

// The member, not the bare name: a receipt may be of a command whose id is that name.
const HEADER = new RegExp(`"format"[ \\t\\r]*:[ \\t\\r]*"(?:${LINEAGE_FORMAT}|govraft.applied.v1)"`.replaceAll(".", "\\."));

/** Whether the first line names the format of lineage exports. */
function isLineage(bytes) {
  const end = bytes.indexOf(0x0a);
  return HEADER.test(new TextDecoder("latin1").decode(end < 0 ? bytes : bytes.subarray(0, end)));
}

// A note comes without links: by the trusted electorate, else by that of the genesis.
async function proveNote(bytes, genesis, { trust }) {
  const founders = new EpochHistory(genesis);
  let history = trust?.history(genesis) ?? founders;
  let checkpoint;
  try {
    checkpoint = await proveCheckpoint(bytes, genesis, history);
  } catch (error) {
    if (trust === null || !(error instanceof VerificationError)) throw error;
    history = founders;
    checkpoint = await proveCheckpoint(bytes, genesis, history);
  }
  const { seq, epoch, root } = checkpoint;
  const shown = { history, epoch, seq, roots: new Map([[seq, root]]) };
  return { shown, proven: { kind: "certificate", ...checkpoint, root: hex(root) } };
}
