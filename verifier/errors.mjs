// What can go wrong. Codes are those of docs/formats.md §12; messages are for people.

/** Evidence does not hold. `code` says in which way. */
export class VerificationError extends Error {
  constructor(message, code) {
    super(message);
    this.name = "VerificationError";
    this.code = code;
  }
}

/** Bytes or text that are not what they should be. Who reads them says what that means for the evidence. */
export class DecodeError extends Error {
  constructor(message) {
    super(message);
    this.name = "DecodeError";
    this.code = "malformed";
  }
}

export const malformed = (message) => new VerificationError(message, "evidence_malformed");
export const wrongCluster = (message) => new VerificationError(message, "wrong_cluster");
export const wrongEpoch = (message) => new VerificationError(message, "wrong_epoch");
export const signatureInvalid = (message) => new VerificationError(message, "signature_invalid");
export const thresholdUnmet = (message) => new VerificationError(message, "threshold_unmet");
export const certificateInvalid = (message) => new VerificationError(message, "certificate_invalid");
export const lineageInconsistent = (message) => new VerificationError(message, "lineage_inconsistent");

/**
 * Run `read`; bytes that it cannot decode become the error that `wrap` makes of the message.
 * Everything else passes: a defect here must not look like a verdict.
 */
export function decoding(wrap, read) {
  try {
    return read();
  } catch (error) {
    throw error instanceof DecodeError ? wrap(error.message) : error;
  }
}

/** As `decoding`, of a promise. */
export async function decodingAsync(wrap, read) {
  try {
    return await read();
  } catch (error) {
    throw error instanceof DecodeError ? wrap(error.message) : error;
  }
}
