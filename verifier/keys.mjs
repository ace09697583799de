// Ed25519 as docs/formats.md §2 has it. Verifiers differ on keys and signatures that no honest signer makes, so what
// WebCrypto leaves open is looked at here: the key must be sound, and S must be below the order of the base point.

import { hex } from "./bytes.mjs";
import { sha256 } from "./digests.mjs";

const FIELD = 2n ** 255n - 19n;
const ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;
const CURVE_D = 0x52036cee2b6ffe738cc740797779e89800700a4d4141d8ab75eb4dca135978a3n;
const ALGORITHM = { name: "Ed25519" };
// The y of the points whose order divides 8.
const SMALL_ORDER_Y = [
  0n,
  1n,
  0x05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826n,
  0x7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7n,
  FIELD - 1n,
];

/** Names a key: 64 hexadecimal digits. */
export const keyId = async (publicKey) => hex(await sha256(publicKey));

/** Whether these bytes are the canonical encoding of a point of the curve that is not of small order. */
export function isSoundKey(publicKey) {
  return publicKey.length === 32 && remembered(sound, hex(publicKey), () => isUsablePoint(publicKey));
}

function isUsablePoint(publicKey) {
  const y = littleEndian(publicKey) & (2n ** 255n - 1n);
  return y < FIELD && !SMALL_ORDER_Y.includes(y) && isOnCurve(y);
}

/** Whether `signature` is that of `message` under `publicKey`. What is not sound gives false. */
export async function isValid(publicKey, signature, message) {
  if (signature.length !== 64 || littleEndian(signature.subarray(32)) >= ORDER) return false;
  const key = await load(publicKey);
  return key !== null && crypto.subtle.verify(ALGORITHM, key, signature, message);
}

function load(publicKey) {
  return remembered(loaded, hex(publicKey), () =>
    isSoundKey(publicKey) ? crypto.subtle.importKey("raw", publicKey, ALGORITHM, false, ["verify"]) : null,
  );
}

// A file names few keys, and each of them often.
const sound = new Map();
const loaded = new Map();
const REMEMBERED_MAX = 1024;

function remembered(known, name, make) {
  if (!known.has(name)) {
    if (known.size >= REMEMBERED_MAX) known.clear();
    known.set(name, make());
  }
  return known.get(name);
}

// Whether x² = (y² - 1) / (d·y² + 1) is a square.
function isOnCurve(y) {
  const square = (y * y) % FIELD;
  return power((square - 1n) * (CURVE_D * square + 1n), (FIELD - 1n) / 2n) === 1n;
}

function power(base, exponent) {
  let result = 1n;
  let factor = ((base % FIELD) + FIELD) % FIELD;
  for (let rest = exponent; rest > 0n; rest >>= 1n) {
    if (rest & 1n) result = (result * factor) % FIELD;
    factor = (factor * factor) % FIELD;
  }
  return result;
}

const littleEndian = (bytes) => bytes.reduceRight((value, item) => (value << 8n) | BigInt(item), 0n);
