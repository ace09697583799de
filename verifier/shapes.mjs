// What fields a decoded value must have. A shape takes a value and gives it back, Maps of known fields as objects;
// anything else throws DecodeError. Nothing is optional unless it says so, and nothing else may be there.

import { countCharacters } from "./bytes.mjs";
import { DecodeError } from "./errors.mjs";

const wrong = (where, what) => new DecodeError(`\`${where}\` must be ${what}`);

export function text({ pattern = null, least = 0, most = Infinity } = {}) {
  return (value, where) => {
    const size = typeof value === "string" ? countCharacters(value) : -1;
    if (size < least || size > most || (pattern !== null && !pattern.test(value))) throw wrong(where, "other text");
    return value;
  };
}

export function whole({ least = -Infinity, most = Infinity } = {}) {
  return (value, where) => {
    const isInteger = Number.isSafeInteger(value) || typeof value === "bigint";
    if (!isInteger || value < least || value > most) throw wrong(where, "another integer");
    return value;
  };
}

export function boolean(value, where) {
  if (typeof value !== "boolean") throw wrong(where, "true or false");
  return value;
}

/** Bytes, of one of these sizes if any are given. */
export function binary(...sizes) {
  return (value, where) => {
    const isSize = value instanceof Uint8Array && (sizes.length === 0 || sizes.includes(value.length));
    if (!isSize) throw wrong(where, "other bytes");
    return value;
  };
}

export function oneOf(...values) {
  return (value, where) => {
    if (!values.includes(value)) throw wrong(where, `one of ${values.join(", ")}`);
    return value;
  };
}

export const nullable = (shape) => (value, where) => (value === null ? null : shape(value, where));

export function list(item, { least = 0, most = Infinity } = {}) {
  return (value, where) => {
    if (!Array.isArray(value) || value.length < least || value.length > most) throw wrong(where, "another list");
    return value.map((part, place) => item(part, `${where}[${place}]`));
  };
}

/** Text keys that are not known beforehand; stays a Map. */
export function mapOf(item, { keys = () => {}, most = Infinity } = {}) {
  return (value, where) => {
    if (!(value instanceof Map) || value.size > most) throw wrong(where, "another map");
    const fields = new Map();
    for (const [key, part] of value) {
      keys(key, `${where} key`);
      fields.set(key, item(part, `${where}.${key}`));
    }
    return fields;
  };
}

export const anything = (value) => value;

/** Exactly these fields; `optional` ones may be left out. */
export function record(fields, optional = {}) {
  return (value, where) => {
    if (!(value instanceof Map)) throw wrong(where, "a map of fields");
    const result = {};
    for (const [name, part] of value) {
      const shape = Object.hasOwn(fields, name) ? fields[name] : Object.hasOwn(optional, name) ? optional[name] : null;
      if (shape === null) throw new DecodeError(`\`${where}\` has an unknown field`);
      result[name] = shape(part, `${where}.${name}`);
    }
    for (const name of Object.keys(fields)) {
      if (!Object.hasOwn(result, name)) throw new DecodeError(`\`${where}\` lacks \`${name}\``);
    }
    return result;
  };
}
