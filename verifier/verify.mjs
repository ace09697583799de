#!/usr/bin/env node
// node verify.mjs FILE --genesis genesis.json: proves what FILE says, offline. Exit code 0 if it is proven, 1 if it is
// not, 2 if it could not be looked at.

import { lstatSync, readFileSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";
import { parseArgs } from "node:util";

import { utf8 } from "./bytes.mjs";
import { decodeGenesis } from "./genesis.mjs";
import { DecodeError, VerificationError, verify } from "./index.mjs";
import { parseJson } from "./json.mjs";
import { notShown } from "./trust.mjs";

const USAGE =
  "usage: verify.mjs FILE --genesis FILE [--trusted FILE|none] [--at MS] [--request JSON] [--audience NAME] [--at-least SEQ]";
const OPTIONS = {
  genesis: { type: "string" },
  at: { type: "string" },
  request: { type: "string" },
  audience: { type: "string" },
  "at-least": { type: "string" },
  trusted: { type: "string" },
};

class UsageError extends Error {}

function read(path) {
  try {
    return new Uint8Array(readFileSync(path));
  } catch (error) {
    throw new UsageError(`\`${path}\` cannot be read: ${error.code}`);
  }
}

// Where the trust state is, by the option, the environment, or the home directory: {path, name}, null for nowhere.
function trustPlace(option, clusterId) {
  if (option === "") throw new UsageError("`--trusted` names a file, or `none`");
  const named = option || process.env.GOVRAFT_TRUSTED;
  if (named === "none") return { path: null, name: "none" };
  if (named) return { path: named, name: named };
  const data = process.env.XDG_DATA_HOME ?? "";
  const home = process.env.HOME ?? homedir();
  if (!isAbsolute(data) && !isAbsolute(home)) return { path: null, name: null };
  const path = join(isAbsolute(data) ? data : join(home, ".local", "share"), "govraft", "trust", `${clusterId}.json`);
  // Only what is surely not there may be done without: a link to nowhere is there.
  return isMissing(path) ? { path: null, name: null } : { path, name: path };
}

function isMissing(path) {
  try {
    lstatSync(path);
  } catch (error) {
    return error.code === "ENOENT";
  }
  return false;
}

function readTrust(path) {
  try {
    if (!statSync(path).isFile()) throw new UsageError("it is no regular file");
    return new Uint8Array(readFileSync(path));
  } catch (error) {
    throw new UsageError(`trust state \`${path}\` cannot be used: ${error.code ?? error.message}; nothing was judged`);
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
    trusted: values.trusted,
    use: {
      isPast: values.at !== undefined,
      at: number(values.at, "at"),
      request: request(values.request),
      audience: values.audience,
      atLeast: number(values["at-least"], "at-least"),
    },
  };
}

async function main(args) {
  const { file, genesis, trusted, use } = parse(args);
  const genesisBytes = read(genesis);
  const place = trustPlace(trusted, (await decodeGenesis(genesisBytes)).clusterId);
  const trust = place.path === null ? null : readTrust(place.path);
  const proven = await verify(read(file), genesisBytes, { ...use, trust });
  if (proven.trust === "not_shown") console.error(notShown().message);
  const plain = (_, value) => (typeof value === "bigint" ? String(value) : value instanceof Map ? Object.fromEntries(value) : value);
  console.log(JSON.stringify({ proven: true, ...proven, trusted: place.name }, plain, 2));
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
