"""An example for each command, by its words: what `--help` ends with. A test parses every one of them."""

from __future__ import annotations

import click

__all__ = ["EXAMPLES", "give_examples"]

EXAMPLES = {
    "attest": "attest statement.json --entity 'Service::\"payments\"' --expires 90d --key scanner=file2:scanner.pem",
    "attestation list": "attestation list --entity 'Service::\"payments\"'",
    "attestation resolve": (
        "attestation resolve 'Service::\"payments\"' https://slsa.dev/provenance/v1 --keep 3f2a… --reason 'rebuilt'"
    ),
    "attestation show": "attestation show 3f2a…",
    "audit export": "audit export node-1 decisions.jsonl",
    "audit reconcile": "audit reconcile",
    "audit replay": "audit replay decisions.jsonl --lineage lineage.jsonl",
    "authority add": "authority add operator-2 --role operator --public-key operator-2.pub",
    "authority assign": "authority assign operator-2 --role operator@payments",
    "authority list": "authority list",
    "authority resume": "authority resume operator-2 --reason 'back from leave'",
    "authority revoke": "authority revoke operator-2 --reason 'left the company'",
    "authority rotate": "authority rotate operator-1=file2:new.pem",
    "authority show": "authority show operator-1",
    "authority suspend": "authority suspend operator-2 --reason 'on leave'",
    "authority threshold": "authority threshold policy 2",
    "authorize": "authorize 'Human::\"dave\"' 'Action::\"build\"' 'Repository::\"identity-app\"' > permit.json",
    "boundary list": "boundary list",
    "boundary remove": "boundary remove office-hours",
    "boundary set": "boundary set office-hours --window 'mon-fri 08:00-18:00'",
    "check": (
        "check 'Agent::\"coder-28\"' 'Action::\"invoke\"' 'Tool::\"run_linter\"'"
        ' --context \'{"cost_cents": 90, "dry_run": true}\''
    ),
    "cluster cut": "cluster cut demo-cluster node-1",
    "cluster down": "cluster down demo-cluster",
    "cluster heal": "cluster heal demo-cluster",
    "cluster status": "cluster status demo-cluster",
    "cluster up": "cluster up demo-cluster",
    "completion": "completion bash > ~/.local/share/bash-completion/completions/govraft",
    "conformance": "conformance",
    "domain create": "domain create payments",
    "domain list": "domain list",
    "domain move": "domain move payments finance",
    "domain remove": "domain remove payments",
    "domain show": "domain show payments",
    "endpoint health": "endpoint health",
    "endpoint status": "endpoint status",
    "entity delete": "entity delete 'Agent::\"coder-28\"'",
    "entity list": "entity list --type Agent",
    "entity patch": "entity patch 'Human::\"alice\"' --set level=3 --add-parent 'Team::\"payments\"'",
    "entity put": "entity put entities.json",
    "entity show": "entity show 'Agent::\"ci-bot\"'",
    "evidence export": "evidence export node-3 equivocation.json",
    "evidence list": "evidence list",
    "grant delegate": (
        "grant delegate night-shift deputy --holder 'Agent::\"ops-2\"' --action 'Action::\"read\"'"
        " --resource 'Tool::\"t\"' --until 4h"
    ),
    "grant issue": (
        "grant issue night-shift --holder 'Agent::\"ops-1\"' --action 'Action::\"read\"'"
        " --resource 'Tool::\"t\"' --until 8h"
    ),
    "grant list": "grant list",
    "grant renew": "grant renew night-shift --until 2h",
    "grant revoke": "grant revoke night-shift --reason 'shift is over'",
    "grant show": "grant show night-shift",
    "init": "init --out demo-cluster --nodes 3",
    "invalidate": "invalidate attestation 3f2a… --reason 'scanner was wrong'",
    "isolate": "isolate node node-3 --reason 'host is compromised'",
    "lineage export": "lineage export lineage.jsonl",
    "lineage list": "lineage list",
    "lineage prove": "lineage prove 7 > proof.json",
    "lineage show": "lineage show 7",
    "mark list": "mark list --mark revoked",
    "member add": "member add node-4",
    "member evict": "member evict --evidence equivocation.json",
    "member init": "member init --id node-4 --listen 10.0.0.4:7101 --out node-4",
    "member list": "member list",
    "member promote": "member promote node-4",
    "member remove": "member remove node-1 --reason 'moved'",
    "member replace": "member replace node-1 node-4",
    "member rotate": "member rotate node-2",
    "permit redeem": "permit redeem permit.json",
    "policy activate": "policy activate 2",
    "policy diff": "policy diff 1 2",
    "policy impact": "policy impact --policies policies/ --decisions decisions.jsonl",
    "policy list": "policy list",
    "policy publish": "policy publish policies/ --schema schema.cedarschema --activate",
    "policy rollback": "policy rollback 1",
    "policy show": "policy show > policies.cedar",
    "policy test": "policy test expected.jsonl --policies policies/",
    "proposal list": "proposal list",
    "proposal open": "proposal open threshold.set body.json --key root-1=file2:keys/root-1.pem",
    "proposal show": "proposal show af6d…",
    "proposal vote": "proposal vote af6d… approve --key root-2=file2:keys/root-2.pem",
    "proposal withdraw": "proposal withdraw af6d… --key root-1=file2:keys/root-1.pem",
    "quarantine": "quarantine subject 'Agent::\"coder-28\"' --reason 'odd tool calls'",
    "release": "release subject 'Agent::\"coder-28\"' --reason 'looked at'",
    "revoke": "revoke subject --from leaked.txt --reason 'leaked tokens' --receipt receipt.json",
    "rules raise": "rules raise 2",
    "rules show": "rules show",
    "status": "status",
    "submit": "submit envelope.json",
    "trust set": "trust set lineage.jsonl --genesis genesis.json",
    "trust show": "trust show --genesis genesis.json",
    "verify": "verify receipt.json --genesis genesis.json",
    "version": "version",
    "watch": "watch",
}


def give_examples(command: click.Command, words: str) -> None:
    """Let the help of `command`, and of all below it, end with its example."""
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            give_examples(below, f"{words} {name}")
    elif words in EXAMPLES:
        command.epilog = f"\b\nExample:\n  govraft {EXAMPLES[words]}"
