// SHA-256, plain and for one purpose each (docs/formats.md, "Notation").

import { concat, utf8 } from "./bytes.mjs";

export async function sha256(...parts) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", concat(...parts)));
}

export const digest = (domain, data) => sha256(utf8(`govraft/${domain}/v1\0`), data);
