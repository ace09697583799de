// Who may cosign, and how many of them make a quorum (docs/formats.md §3 and §6).

import { compareText } from "./bytes.mjs";
import { unpack } from "./msgpack.mjs";
import { binary, boolean, oneOf, record, text, whole } from "./shapes.mjs";

const RECORD_BYTES_MAX = 64 * 1024;
const RULES = ["majority", "byzantine"];

const epochShape = record({ epoch: whole({ least: 1 }), rule: oneOf(...RULES) });
const memberShape = record({
  id: text(),
  public_key: binary(),
  certificate: binary(),
  voter: boolean,
  address: text(),
});

/** The members of one epoch, sorted by id; each {id, public_key, certificate, voter, address}. */
export class Electorate {
  constructor(epoch, rule, members) {
    this.epoch = epoch;
    this.rule = rule;
    this.members = members;
    this.voters = members.filter((member) => member.voter);
  }

  get quorum() {
    const count = this.voters.length;
    return this.rule === "majority" ? Math.floor(count / 2) + 1 : Math.floor((2 * count) / 3) + 1;
  }

  find(id) {
    return this.members.find((member) => member.id === id);
  }
}

/** The electorate that the records of the section `electorate` say, a Map of bytes. Throws DecodeError. */
export function electorateOf(records) {
  if (!records.has("epoch")) return null;
  const { epoch, rule } = epochShape(unpack(records.get("epoch"), RECORD_BYTES_MAX), "epoch");
  const members = [];
  for (const [key, value] of records) {
    if (key.startsWith("member/")) members.push({ key, ...memberShape(unpack(value, RECORD_BYTES_MAX), key) });
  }
  members.sort((one, other) => compareText(one.key, other.key));
  return new Electorate(epoch, rule, members.map(({ key: _, ...member }) => member));
}
