#!/usr/bin/env node
// node verify.mjs FILE --genesis genesis.json: proves what FILE says, offline. Exit code 0 if it is proven, 1 if it is
// not, 2 if it could not be looked at.

import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";

import { utf8 } from "./bytes.mjs";
import { DecodeError, VerificationError, verify } from "./index.mjs";
import { parseJson } from "./json.mjs";

const USAGE = "usage: verify.mjs FILE --genesis FILE [--at MS] [--request JSON] [--audience NAME] [--at-least SEQ]";
const OPTIONS = {
  genesis: { type: "string" },
  at: { type: "string" },
  request: { type: "string" },
  audience: { type: "string" },
  "at-least": { type: "string" },
};

class UsageError extends Error {}

function read(path) {
  try {
    return new Uint8Array(readFileSync(path));
  } catch (error) {
    throw new UsageError(`\`${path}\` cannot be read: ${error.code}`);
  }
}

function number(text, option) {
  if (text === undefined) return undefined;
  if (!/^[0-9]{1,15}$/.test(text)) throw new UsageError(`\`--${option}\` must be a whole number`);
  return Number(text);
}

function request(text) {
  if (text === undefined) return undefined;
  try {
    return Object.fromEntries(parseJson(text.startsWith("@") ? read(text.slice(1)) : utf8(text)));
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError("`--request` must be a json object of `principal`, `action`, `resource`, `context`");
  }
}

function parse(args) {
  let parsed;
  try {
    parsed = parseArgs({ args, options: OPTIONS, allowPositionals: true });
  } catch (error) {
    throw new UsageError(`${error.message}; ${USAGE}`);
  }
  const { values, positionals } = parsed;
  if (positionals.length !== 1 || values.genesis === undefined) throw new UsageError(USAGE);
  return {
    file: positionals[0],
    genesis: values.genesis,
    use: {
      at: number(values.at, "at"),
      request: request(values.request),
      audience: values.audience,
      atLeast: number(values["at-least"], "at-least"),
    },
  };
}

async function main(args) {
  const { file, genesis, use } = parse(args);
  const proven = await verify(read(file), read(genesis), use);
  const plain = (_, value) => (typeof value === "bigint" ? String(value) : value instanceof Map ? Object.fromEntries(value) : value);
  console.log(JSON.stringify({ proven: true, ...proven }, plain, 2));
}

// Node 20 says at the first use of Ed25519 that it is an experiment; that is not for whoever verifies a file.
process.removeAllListeners("warning");
try {
  await main(process.argv.slice(2));
} catch (error) {
  const isKnown = error instanceof VerificationError || error instanceof DecodeError || error instanceof UsageError;
  console.error(isKnown ? `error: ${error.message}${error.code ? ` (${error.code})` : ""}` : error);
  process.exitCode = error instanceof VerificationError ? 1 : 2;
}
