// JSON, read strictly, and the one canonical spelling of it (docs/formats.md §1).
//
// The language's own reader forgives a key that appears twice and rounds large integers, so it is not used. Objects
// become Maps: their keys come from others, and must not meet those of the language.

import { compareText, integer, textOf } from "./bytes.mjs";
import { DecodeError } from "./errors.mjs";

export const DEPTH_MAX = 64;
const INTEGER_LEAST = -(2n ** 63n);
const INTEGER_MOST = 2n ** 64n - 1n;

/** Parse JSON in any layout: no key twice, no floats, no lone surrogates. Throws DecodeError. */
export function parseJson(bytes) {
  const reader = new Reader(textOf(bytes));
  const value = reader.value(0);
  reader.space();
  if (reader.place !== reader.text.length) throw new DecodeError("something follows the json value");
  return value;
}

/** Parse canonical JSON. Throws DecodeError for every other spelling. */
export function parseCanonicalJson(bytes, bytesMax) {
  if (bytes.length > bytesMax) throw new DecodeError(`${bytes.length} bytes are more than the limit of ${bytesMax}`);
  const value = parseJson(bytes);
  if (encodeJson(value) !== textOf(bytes)) throw new DecodeError("not canonical json");
  return value;
}

/** The canonical spelling of null, booleans, integers, text, lists, and Maps or plain objects. Throws DecodeError. */
export function encodeJson(value, depth = 0) {
  if (value === null || typeof value === "boolean") return String(value);
  if (typeof value === "string") return encodeText(value);
  if (typeof value === "number" || typeof value === "bigint") return encodeInteger(value);
  if (typeof value !== "object" || depth === DEPTH_MAX) throw new DecodeError("a value has no canonical form");
  if (Array.isArray(value)) return `[${value.map((item) => encodeJson(item, depth + 1)).join(",")}]`;
  const pairs = [...(value instanceof Map ? value.entries() : Object.entries(value))];
  pairs.sort(([one], [other]) => compareText(one, other));
  return `{${pairs.map(([key, item]) => `${encodeText(key)}:${encodeJson(item, depth + 1)}`).join(",")}}`;
}

function encodeText(text) {
  if (/\p{Cs}/u.test(text)) throw new DecodeError("text holds a lone surrogate");
  // Of well-formed text this escapes exactly what JSON requires, as the format does.
  return JSON.stringify(text);
}

function encodeInteger(value) {
  if (typeof value === "number" && !Number.isSafeInteger(value)) throw new DecodeError("a number is no exact integer");
  const whole = BigInt(value);
  if (whole < INTEGER_LEAST || whole > INTEGER_MOST) throw new DecodeError("an integer does not fit into 64 bits");
  return String(whole);
}

class Reader {
  constructor(text) {
    this.text = text;
    this.place = 0;
  }

  value(depth) {
    this.space();
    const first = this.text[this.place];
    if (first === "{") return this.object(depth + 1);
    if (first === "[") return this.list(depth + 1);
    if (first === '"') return this.string();
    for (const [word, value] of WORDS) {
      if (this.text.startsWith(word, this.place)) {
        this.place += word.length;
        return value;
      }
    }
    return this.integer();
  }

  space() {
    this.match(/[ \t\n\r]*/y);
  }

  match(pattern) {
    pattern.lastIndex = this.place;
    const found = pattern.exec(this.text);
    if (found === null) return null;
    this.place = pattern.lastIndex;
    return found[0];
  }

  take(character) {
    this.space();
    if (this.text[this.place] !== character) return false;
    this.place += 1;
    return true;
  }

  demand(character) {
    if (!this.take(character)) throw new DecodeError(`not json at character ${this.place}`);
  }

  enter(depth) {
    if (depth > DEPTH_MAX) throw new DecodeError(`nested deeper than ${DEPTH_MAX} levels`);
    this.place += 1;
  }

  object(depth) {
    this.enter(depth);
    const fields = new Map();
    if (this.take("}")) return fields;
    do {
      this.space();
      const key = this.string();
      if (fields.has(key)) throw new DecodeError("one key appears twice");
      this.demand(":");
      fields.set(key, this.value(depth));
    } while (this.take(","));
    this.demand("}");
    return fields;
  }

  list(depth) {
    this.enter(depth);
    const items = [];
    if (this.take("]")) return items;
    do items.push(this.value(depth));
    while (this.take(","));
    this.demand("]");
    return items;
  }

  string() {
    const start = this.place;
    if (this.text[this.place] !== '"') throw new DecodeError(`not a string of json at character ${start}`);
    this.place += 1;
    // Run by run: one pattern for the whole could take very long over what is no string.
    for (;;) {
      this.match(/[^"\\\x00-\x1f]*/y);
      if (this.text[this.place] === '"') break;
      if (this.match(/\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4})/y) === null) {
        throw new DecodeError(`not a string of json at character ${start}`);
      }
    }
    this.place += 1;
    const text = JSON.parse(this.text.slice(start, this.place));
    if (/\p{Cs}/u.test(text)) throw new DecodeError("text holds a lone surrogate");
    return text;
  }

  integer() {
    const found = this.match(/(?:0|-?[1-9][0-9]*)(?![0-9.eE])/y);
    if (found === null) throw new DecodeError(`not an integer at character ${this.place}`);
    const whole = found.length > 20 ? null : BigInt(found);
    if (whole === null || whole < INTEGER_LEAST || whole > INTEGER_MOST) {
      throw new DecodeError("an integer does not fit into 64 bits");
    }
    return integer(whole);
  }
}

const WORDS = [
  ["null", null],
  ["true", true],
  ["false", false],
];
