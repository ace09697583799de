// Entity uids, and their one canonical spelling (docs/formats.md §2).

import { countCharacters } from "./bytes.mjs";
import { DecodeError } from "./errors.mjs";

const CHARACTERS_MAX = 512;
const UID = /^([A-Za-z_][A-Za-z0-9_]*(?:::[A-Za-z_][A-Za-z0-9_]*)*)::"((?:[^"\\]|\\.)*)"$/su;
const RESERVED = ["true", "false", "if", "then", "else", "in", "is", "like", "has", "__cedar"];
const ESCAPE = /\\(?:([nrt0'"\\])|x([0-7][0-9A-Fa-f])|u\{([0-9A-Fa-f](?:_*[0-9A-Fa-f]){0,5}_*)\}|(.))/gsu;
const READ = { n: "\n", r: "\r", t: "\t", 0: "\0", "'": "'", '"': '"', "\\": "\\" };
const UNSAFE = /["\\\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;
const WRITTEN = { "\n": "\\n", "\r": "\\r", "\t": "\\t", "\0": "\\0", '"': '\\"', "\\": "\\\\" };

/** The canonical spelling of a uid. Throws DecodeError for what is none. */
export function canonicalUid(text) {
  if (typeof text !== "string") throw new DecodeError("an entity uid is text");
  demandShort(text);
  const match = UID.exec(text);
  if (match === null || match[1].split("::").some((name) => RESERVED.includes(name))) {
    throw new DecodeError("not an entity uid");
  }
  const identifier = match[2].replace(ESCAPE, readEscape);
  if (/\p{Cs}/u.test(identifier)) throw new DecodeError("an entity uid holds a lone surrogate");
  const canonical = `${match[1]}::"${identifier.replace(UNSAFE, writeEscape)}"`;
  demandShort(canonical);
  return canonical;
}

function demandShort(text) {
  if (countCharacters(text) > CHARACTERS_MAX) throw new DecodeError(`an entity uid has at most ${CHARACTERS_MAX} characters`);
}

function readEscape(whole, simple, byte, scalar) {
  if (simple !== undefined) return READ[simple];
  const digits = byte ?? scalar?.replaceAll("_", "") ?? "110000";
  const code = Number.parseInt(digits, 16);
  if (code > 0x10ffff) throw new DecodeError("an entity uid holds an unknown escape");
  return String.fromCodePoint(code);
}

const writeEscape = (character) => WRITTEN[character] ?? `\\u{${character.codePointAt(0).toString(16)}}`;
