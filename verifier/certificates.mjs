// X.509, as far as a genesis takes it: whose key a member's TLS certificate holds.

const SEQUENCE = 0x30;
const INTEGER = 0x02;
const BIT_STRING = 0x03;
const VERSION = 0xa0;
const OBJECT = 0x06;
const ED25519 = "2b6570";

/** The Ed25519 key in a DER certificate, or null. Its signature and its names are not looked at: pins need neither. */
export function certificateKey(der) {
  const outer = parts(der);
  if (outer?.length !== 1 || outer[0].tag !== SEQUENCE) return null;
  const certificate = parts(outer[0].content);
  if (certificate?.map((part) => part.tag).join() !== [SEQUENCE, SEQUENCE, BIT_STRING].join()) return null;
  const fields = parts(certificate[0].content);
  if (fields?.[0]?.tag === VERSION) fields.shift();
  const head = fields?.slice(0, 6).map((part) => part.tag).join();
  if (head !== [INTEGER, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE].join()) return null;
  const [algorithm, key, ...rest] = parts(fields[5].content) ?? [];
  if (algorithm?.tag !== SEQUENCE || key?.tag !== BIT_STRING || rest.length > 0) return null;
  const [name, ...parameters] = parts(algorithm.content) ?? [];
  const isEd25519 = name?.tag === OBJECT && toHex(name.content) === ED25519 && parameters.length === 0;
  // The first byte of a bit string counts its unused bits.
  return isEd25519 && key.content.length === 33 && key.content[0] === 0 ? key.content.slice(1) : null;
}

/** The elements of DER one after the other, or null. */
function parts(bytes) {
  const found = [];
  let place = 0;
  while (place < bytes.length) {
    const tag = bytes[place];
    let size = bytes[place + 1];
    place += 2;
    if (size === undefined || size === 0x80 || (tag & 0x1f) === 0x1f) return null;
    if (size > 0x80) {
      const count = size & 0x7f;
      const digits = bytes.subarray(place, place + count);
      place += count;
      size = digits.reduce((value, item) => value * 256 + item, 0);
      // The shortest form only.
      if (digits.length !== count || count > 4 || digits[0] === 0 || size < 0x80) return null;
    }
    if (size > bytes.length - place) return null;
    found.push({ tag, content: bytes.subarray(place, place + size) });
    place += size;
  }
  return found;
}

const toHex = (bytes) => Array.from(bytes, (item) => item.toString(16).padStart(2, "0")).join("");
