// Bytes, and the spellings in which files carry them: each value has one.

import { DecodeError } from "./errors.mjs";

const encoder = new TextEncoder();
// A byte order mark is a character like any other here: two files that differ by one must not read the same.
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export const utf8 = (text) => encoder.encode(text);

/** Text of UTF-8 bytes. Throws DecodeError. */
export function textOf(bytes) {
  try {
    return decoder.decode(bytes);
  } catch {
    throw new DecodeError("not utf-8");
  }
}

export function concat(...parts) {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let place = 0;
  for (const part of parts) {
    whole.set(part, place);
    place += part.length;
  }
  return whole;
}

export function equal(one, other) {
  return one.length === other.length && one.every((byte, place) => byte === other[place]);
}

export const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

export function toBase64(bytes) {
  let text = "";
  // In pieces: a call takes only so many arguments.
  for (let place = 0; place < bytes.length; place += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(place, place + 0x8000));
  }
  return btoa(text);
}

const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/** Bytes of standard base64 with padding. Throws DecodeError for any other spelling. */
export function fromBase64(text, what) {
  const padding = typeof text === "string" ? /^[A-Za-z0-9+/]*(={0,2})$/.exec(text)?.[1].length : undefined;
  // Decoders forgive stray bits behind the last byte: 2 beside one `=`, 4 beside two.
  const last = padding > 0 ? DIGITS.indexOf(text[text.length - padding - 1]) : 0;
  if (padding === undefined || text.length % 4 !== 0 || last % 4 ** padding !== 0) {
    throw new DecodeError(`\`${what}\` is not standard base64 with padding`);
  }
  const units = atob(text);
  const bytes = new Uint8Array(units.length);
  for (let place = 0; place < units.length; place += 1) bytes[place] = units.charCodeAt(place);
  return bytes;
}

/** Compare text by code points, which is by UTF-8 bytes; the language's own order is by UTF-16 units. */
export function compareText(one, other) {
  const size = Math.min(one.length, other.length);
  for (let place = 0; place < size; place += 1) {
    const left = one.charCodeAt(place);
    const right = other.charCodeAt(place);
    if (left !== right) return rank(left) - rank(right);
  }
  return one.length - other.length;
}

// Surrogates stand for code points above all others.
const rank = (unit) => (unit >= 0xd800 && unit < 0xe000 ? unit + 0x10000 : unit);

/** How many code points. */
export function countCharacters(text) {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}

/** An integer as a number if that is exact, else as a bigint: equal integers are `===`. */
export function integer(value) {
  const exact = Number(value);
  return Number.isSafeInteger(exact) ? exact : BigInt(value);
}
