// DSSE envelopes (docs/formats.md §4), and those that nodes seal (§12).

import { compareText, concat, fromBase64, utf8 } from "./bytes.mjs";
import { DecodeError, signatureInvalid } from "./errors.mjs";
import { encodeJson, parseJson } from "./json.mjs";
import { isValid, keyId } from "./keys.mjs";
import { list, record, text } from "./shapes.mjs";

const ENVELOPE_BYTES_MAX = 131_072;
const SIGNATURES_MAX = 64;

/** An envelope's fields, as they stand in JSON. */
export const envelopeShape = record({
  payload: text(),
  payloadType: text(),
  signatures: list(record({ keyid: text(), sig: text() })),
});

/** Decode an envelope in any layout: {payloadType, payload, signatures: [{keyid, sig}]}. Throws DecodeError. */
export function decodeEnvelope(bytes) {
  if (bytes.length > ENVELOPE_BYTES_MAX) throw new DecodeError(`an envelope has at most ${ENVELOPE_BYTES_MAX} bytes`);
  return readEnvelope(envelopeShape(parseJson(bytes), "envelope"));
}

/** As `decodeEnvelope`, of one that is part of an evidence file: {payload, payloadType, signatures} as text. */
export function openSealed(fields, payloadType) {
  if (utf8(encodeJson(fields)).length > ENVELOPE_BYTES_MAX) throw new DecodeError("the envelope is too large");
  const envelope = readEnvelope(fields);
  if (envelope.payloadType !== payloadType) throw new DecodeError("the payload is of another type");
  return envelope;
}

function readEnvelope(fields) {
  if (fields.signatures.length > SIGNATURES_MAX) throw new DecodeError(`an envelope has at most ${SIGNATURES_MAX} signatures`);
  return {
    payloadType: fields.payloadType,
    payload: fromBase64(fields.payload, "payload"),
    signatures: fields.signatures.map(({ keyid, sig }) => ({ keyid, sig: fromBase64(sig, "sig") })),
  };
}

/** What the signatures sign. */
export function pae({ payloadType, payload }) {
  const name = utf8(payloadType);
  return concat(utf8(`DSSEv1 ${name.length} `), name, utf8(` ${payload.length} `), payload);
}

/** The members that signed; a signature of anybody else, one that does not hold, or disorder refuses all. */
export async function signingMembers(envelope, members) {
  const known = new Map();
  for (const member of members) known.set(await keyId(member.public_key), member);
  const names = envelope.signatures.map((part) => part.keyid);
  if (!names.every((name, place) => place === 0 || compareText(names[place - 1], name) < 0)) {
    throw signatureInvalid("signatures must be sorted by key id, one for each key");
  }
  const message = pae(envelope);
  const signers = [];
  for (const { keyid, sig } of envelope.signatures) {
    const member = known.get(keyid);
    if (member === undefined) throw signatureInvalid("a key is not of a node that may sign this");
    if (!(await isValid(member.public_key, sig, message))) {
      throw signatureInvalid(`the signature of \`${member.id}\` does not hold`);
    }
    signers.push(member);
  }
  return signers;
}
