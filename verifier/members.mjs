// The section `electorate` from entry to entry (docs/formats.md §6, "Members"), as far as a lineage without its state
// can follow it: what an entry makes of the records is worked out, and counts only if it has the digest in the leaf.

import { fromBase64, hex, utf8 } from "./bytes.mjs";
import { decodeCommand } from "./commands.mjs";
import { digest } from "./digests.mjs";
import { decodeEnvelope } from "./envelope.mjs";
import { DecodeError } from "./errors.mjs";
import { electorateRecords } from "./genesis.mjs";
import { encodeJson } from "./json.mjs";
import { keyId } from "./keys.mjs";
import { pack, unpack } from "./msgpack.mjs";
import { binary, record, whole } from "./shapes.mjs";
import { sectionDigest } from "./trie.mjs";

const ENTRY_BYTES_MAX = 132_096;
const entryShape = record({ v: whole({ least: 1, most: 1 }), time: whole({ least: 0 }), envelope: binary() });
const NAMED = ["author", "body", "cluster", "command", "epoch", "expires", "sequence"];

/** The records of the section after each entry. */
export class Roster {
  constructor(genesis) {
    this.records = electorateRecords(genesis);
    this.proposals = new Map();
  }

  /** Take in an entry that was applied. Returns whether the members changed. Throws DecodeError. */
  async apply(entry, leaf) {
    const { envelope } = entryShape(unpack(entry, ENTRY_BYTES_MAX), "entry");
    const { name, fields } = decodeCommand(decodeEnvelope(envelope));
    if (name === "proposal.open") await this.remember(fields);
    if (hex(leaf.sections.get("electorate")) === hex(await sectionDigest(this.records))) return false;
    const [command, body] = this.executed(name, fields);
    const records = await changed(this.records, command, body, leaf.seq);
    if (hex(leaf.sections.get("electorate")) !== hex(await sectionDigest(records))) {
      throw new DecodeError("its entry makes other members than its leaf has");
    }
    this.records = records;
    return true;
  }

  async remember(fields) {
    const named = Object.fromEntries(NAMED.map((key) => [key, fields[key]]));
    this.last = hex(await digest("proposal", utf8(encodeJson(named))));
    this.proposals.set(this.last, [fields.command, Object.fromEntries(fields.body)]);
  }

  // A ballot executes what was proposed.
  executed(name, fields) {
    if (name === "proposal.open") return this.proposals.get(this.last);
    return name === "proposal.vote" ? (this.proposals.get(fields.proposal) ?? ["", {}]) : [name, fields];
  }
}

async function changed(before, command, body, seq) {
  const records = new Map(before);
  const epoch = unpack(before.get("epoch"), ENTRY_BYTES_MAX);
  records.set("epoch", pack({ epoch: epoch.get("epoch") + 1, rule: epoch.get("rule") }));
  const id = command === "member.add" || command === "member.rotate" ? body.member.id : body.id;
  const key = `member/${id}`;
  const old = before.has(key) ? Object.fromEntries(unpack(before.get(key), ENTRY_BYTES_MAX)) : null;
  const isLeaving = command === "member.remove" || command === "member.evict";
  if (command === "member.add") records.set(key, memberRecord(body.member, false));
  else if (old === null) throw new DecodeError("its entry changes no member");
  else if (command === "member.promote") records.set(key, pack({ ...old, voter: true }));
  else if (command === "member.rotate") records.set(key, memberRecord(body.member, old.voter));
  else if (isLeaving) records.delete(key);
  else throw new DecodeError("its entry changes no member");
  if (isLeaving || command === "member.rotate") records.set(`retired/${await keyId(old.public_key)}`, pack(seq));
  return records;
}

function memberRecord({ id, public_key, certificate, address }, voter) {
  return pack({
    id,
    public_key: fromBase64(public_key, "public_key"),
    certificate: fromBase64(certificate, "certificate"),
    voter,
    address,
  });
}
