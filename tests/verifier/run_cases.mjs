// Runs the verifier over cases, one JSON object a line, and answers each with one line. Bytes are in base64.
//
// {genesis, file, at, request, audience, at_least, trust, is_past}: {"outcome": "ok" or code, "proven", "message"}
// The same with `advance`: "proven" is {"file": the trust file that it leads to}
// {key, signature, message}: {"outcome": whether the signature holds}

import { createInterface } from "node:readline";

import { fromBase64, textOf, utf8 } from "../../verifier/bytes.mjs";
import { advance, DecodeError, VerificationError, verify } from "../../verifier/index.mjs";
import { encodeJson, parseJson } from "../../verifier/json.mjs";
import { isValid } from "../../verifier/keys.mjs";

const NONE = { proven: null, message: "" };

async function answer(item) {
  const bytes = (name) => fromBase64(item.get(name), name);
  if (item.has("key")) return { outcome: await isValid(bytes("key"), bytes("signature"), bytes("message")) };
  const request = item.has("request") ? Object.fromEntries(item.get("request")) : undefined;
  const trust = item.has("trust") ? utf8(item.get("trust")) : undefined;
  const use = { at: item.get("at"), request, audience: item.get("audience"), atLeast: item.get("at_least"), trust };
  use.isPast = item.get("is_past");
  try {
    if (item.has("advance")) {
      const file = textOf(await advance(trust, bytes("file"), bytes("genesis")));
      return { ...NONE, outcome: "ok", proven: { kind: "trust", file } };
    }
    return { ...NONE, outcome: "ok", proven: await verify(bytes("file"), bytes("genesis"), use) };
  } catch (error) {
    if (error instanceof VerificationError) return { ...NONE, outcome: error.code, message: error.message };
    if (error instanceof DecodeError) return { ...NONE, outcome: "genesis", message: error.message };
    // A defect of the verifier: no verdict at all.
    return { ...NONE, outcome: "crash", message: error.stack };
  }
}

process.removeAllListeners("warning");
for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  process.stdout.write(`${encodeJson(await answer(parseJson(utf8(line))))}\n`);
}
