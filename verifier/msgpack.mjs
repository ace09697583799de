// Canonical MessagePack (docs/formats.md §1). Maps become Maps, binary becomes Uint8Array.

import { compareText, concat, equal, integer, textOf, utf8 } from "./bytes.mjs";
import { DecodeError } from "./errors.mjs";
import { DEPTH_MAX } from "./json.mjs";

/** Decode canonical MessagePack. Throws DecodeError for anything but the one encoding of one value. */
export function unpack(bytes, bytesMax) {
  if (bytes.length > bytesMax) throw new DecodeError(`${bytes.length} bytes are more than the limit of ${bytesMax}`);
  const reader = new Reader(bytes);
  const value = reader.value(0);
  if (reader.place !== bytes.length) throw new DecodeError("something follows the msgpack value");
  if (!equal(pack(value), bytes)) throw new DecodeError("not canonical msgpack");
  return value;
}

/** Encode null, booleans, integers, text, bytes, lists, and Maps or plain objects. */
export function pack(value) {
  const parts = [];
  write(parts, value, 0);
  return concat(...parts);
}

function write(parts, value, depth) {
  if (value === null) parts.push(byte(0xc0));
  else if (typeof value === "boolean") parts.push(byte(value ? 0xc3 : 0xc2));
  else if (typeof value === "number" || typeof value === "bigint") parts.push(packInteger(BigInt(value)));
  else if (typeof value === "string") {
    const text = utf8(value);
    parts.push(text.length < 32 ? byte(0xa0 | text.length) : header([0xd9, 0xda, 0xdb], text.length), text);
  } else if (value instanceof Uint8Array) parts.push(header([0xc4, 0xc5, 0xc6], value.length), value);
  else if (depth === DEPTH_MAX) throw new DecodeError(`nested deeper than ${DEPTH_MAX} levels`);
  else if (Array.isArray(value)) {
    parts.push(value.length < 16 ? byte(0x90 | value.length) : header([null, 0xdc, 0xdd], value.length));
    for (const item of value) write(parts, item, depth + 1);
  } else {
    const pairs = [...(value instanceof Map ? value.entries() : Object.entries(value))];
    pairs.sort(([one], [other]) => compareText(one, other));
    parts.push(pairs.length < 16 ? byte(0x80 | pairs.length) : header([null, 0xde, 0xdf], pairs.length));
    for (const [key, item] of pairs) {
      write(parts, key, depth + 1);
      write(parts, item, depth + 1);
    }
  }
}

const byte = (value) => Uint8Array.of(value);

function header([one, two, four], size) {
  if (one !== null && size < 0x100) return Uint8Array.of(one, size);
  return size < 0x10000 ? concat(byte(two), bigEndian(size, 2)) : concat(byte(four), bigEndian(size, 4));
}

function packInteger(value) {
  if (value >= 0n) {
    if (value < 0x80n) return byte(Number(value));
    for (const [tag, size] of [[0xcc, 1], [0xcd, 2], [0xce, 4], [0xcf, 8]]) {
      if (value < 1n << BigInt(8 * size)) return concat(byte(tag), bigEndian(value, size));
    }
  } else {
    if (value >= -0x20n) return byte(Number(value + 0x100n));
    for (const [tag, size] of [[0xd0, 1], [0xd1, 2], [0xd2, 4], [0xd3, 8]]) {
      const bits = BigInt(8 * size);
      if (value >= -(1n << (bits - 1n))) return concat(byte(tag), bigEndian(value + (1n << bits), size));
    }
  }
  throw new DecodeError("an integer does not fit into 64 bits");
}

/** An unsigned integer in so many bytes. */
export function bigEndian(value, size) {
  let rest = BigInt(value);
  const bytes = new Uint8Array(size);
  for (let place = size - 1; place >= 0; place -= 1) {
    bytes[place] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  return bytes;
}

/** The unsigned integer of these bytes. */
export function fromBigEndian(bytes) {
  return integer(bytes.reduce((value, item) => (value << 8n) | BigInt(item), 0n));
}

class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.place = 0;
  }

  take(size) {
    if (size > this.bytes.length - this.place) throw new DecodeError("msgpack is cut off");
    this.place += size;
    return this.bytes.subarray(this.place - size, this.place);
  }

  size(bytes) {
    return Number(fromBigEndian(this.take(bytes)));
  }

  value(depth) {
    const tag = this.take(1)[0];
    if (tag < 0x80) return tag;
    if (tag < 0x90) return this.map(tag & 0x0f, depth + 1);
    if (tag < 0xa0) return this.list(tag & 0x0f, depth + 1);
    if (tag < 0xc0) return this.text(tag & 0x1f);
    if (tag >= 0xe0) return tag - 0x100;
    return this.tagged(tag, depth);
  }

  tagged(tag, depth) {
    if (tag === 0xc0) return null;
    if (tag === 0xc2 || tag === 0xc3) return tag === 0xc3;
    if (tag >= 0xc4 && tag <= 0xc6) return this.take(this.size(1 << (tag - 0xc4))).slice();
    if (tag >= 0xcc && tag <= 0xcf) return fromBigEndian(this.take(1 << (tag - 0xcc)));
    if (tag >= 0xd0 && tag <= 0xd3) return this.signed(1 << (tag - 0xd0));
    if (tag >= 0xd9 && tag <= 0xdb) return this.text(this.size(1 << (tag - 0xd9)));
    if (tag === 0xdc || tag === 0xdd) return this.list(this.size(tag === 0xdc ? 2 : 4), depth + 1);
    if (tag === 0xde || tag === 0xdf) return this.map(this.size(tag === 0xde ? 2 : 4), depth + 1);
    throw new DecodeError("msgpack of a type that has no canonical form");
  }

  signed(size) {
    return integer(BigInt.asIntN(8 * size, BigInt(fromBigEndian(this.take(size)))));
  }

  text(size) {
    return textOf(this.take(size));
  }

  list(count, depth) {
    if (depth > DEPTH_MAX) throw new DecodeError(`nested deeper than ${DEPTH_MAX} levels`);
    const items = [];
    for (let done = 0; done < count; done += 1) items.push(this.value(depth));
    return items;
  }

  map(count, depth) {
    if (depth > DEPTH_MAX) throw new DecodeError(`nested deeper than ${DEPTH_MAX} levels`);
    const fields = new Map();
    for (let done = 0; done < count; done += 1) {
      const key = this.value(depth);
      if (typeof key !== "string" || fields.has(key)) throw new DecodeError("a key is no text, or appears twice");
      fields.set(key, this.value(depth));
    }
    return fields;
  }
}
