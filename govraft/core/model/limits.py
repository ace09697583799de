"""Every limit of govraft, in one place, checked before any work is done on the input.

Units come last in each name. The relations at the end are asserted at import, so that a change of one
limit cannot silently break another.
"""

from __future__ import annotations

from govraft.errors import require

ENVELOPE_BYTES = 128 * 1024
"""`TARGETS` with names of some 90 characters each fit, as base64 makes four bytes of three."""
ENVELOPE_BYTES_RULES_1 = 64 * 1024
ENTRY_BYTES = ENVELOPE_BYTES + 1024
SIGNATURES_PER_ENVELOPE = 64
COMMAND_ID_CHARS = 128
COMMAND_VALIDITY_MS = 24 * 3600 * 1000
REASON_CHARS = 1024
NAME_CHARS = 256

POLICIES = 10_000
POLICY_BYTES = 10_000
POLICY_BRACKET_DEPTH = 32
POLICY_OPERATOR_CHAIN = 512
SCHEMA_BYTES = 48 * 1024
SCHEMA_DEPTH = 32
SCHEMA_NODES = 20_000
SCHEMA_HIERARCHY = 256
POLICY_VERSIONS_KEPT = 64

ENTITIES = 100_000
ENTITIES_PER_COMMAND = 1_000
ENTITY_DEPTH = 32
ENTITY_PARENTS = 64
ENTITY_PARENT_CHAIN = 64
ENTITY_UID_CHARS = 512

AUTHORITIES = 1_000
"""That are not revoked."""
AUTHORITIES_EVER = 10_000
"""Revoked ones too: their ids and keys never come back."""
AUTHORITY_KEYS_RETIRED = 100_000
AUTHORITY_ASSIGNMENTS = 64
THRESHOLD_KEYS = SIGNATURES_PER_ENVELOPE - 1
"""One signature less than fits, so that a new key can always prove itself beside a threshold."""
PROPOSALS_OPEN = 1_000
PROPOSALS_OPEN_OF_ONE = 100
"""Of one author."""
PROPOSALS_CLOSED = 1_000
"""Closed proposals that are kept to be looked at; the oldest go first."""
PROPOSALS_PRUNED_PER_ENTRY = 8
"""Each entry opens at most one proposal, so closing up to this many expired ones keeps pace."""
PROPOSAL_LIFE_MS = 7 * 24 * 3600 * 1000
VOTERS = 9
OBSERVERS = 64
MARKS = 100_000
TARGETS = 1_000
"""In one command of enforcement: an incident is one round."""
KNOWN_COMMANDS = 1_000_000
"""Some of these places are kept for commands of more signatures: see `Machine._room_for_commands`."""

SLICE_ENTITIES = 4_096
SLICES_CACHED = 4_096
SLICES_CACHED_ENTITIES = 16_384
POLICY_SETS_CACHED_POLICIES = 16_384

REQUEST_BYTES = 64 * 1024
CONTEXT_DEPTH = 32
CONTEXT_VALUES = 8_192
BATCH_CHECKS = 1_000

# sockaddr_un.sun_path, less its end mark and the ending of the name under which the socket is first bound.
SOCKET_PATH_BYTES = 107 - len(".new")

FRAME_BYTES = 1024 * 1024
PROPOSAL_BATCH_ENTRIES = 1_000
PROPOSAL_BATCH_BYTES = 512 * 1024
ROUND_BYTES = 32 * 1024
"""Of what the leader proposes at a time, unless one command alone is longer: until all of it is applied and certified
no node may allow, and a command of 30 KiB may change a thousand records."""
APPLIED_PER_TURN = 64
APPLIED_BYTES_PER_TURN = 16 * 1024
"""Committed entries that one turn of a node applies: what else has happened meanwhile comes in between. An entry that
is long takes long: one may change a thousand records."""
PENDING_SUBMITS = 4_096
PENDING_SUBMITS_OF_ONE = 1_024
"""Of one authority. More may come, but only when these are done."""
PEER_QUEUE_FRAMES = 4_096
PEER_QUEUE_BYTES = 16 * 1024 * 1024
ENGINE_BACKLOG_ENTRIES = 8_192
ENGINE_BACKLOG_BYTES = 32 * 1024 * 1024
ENGINE_WINDOW_ENTRIES = 4_096
"""Newest journal entries that stay in memory, so that a follower that lags a little is fed without the disk."""
ENGINE_WINDOW_BYTES = 16 * 1024 * 1024
JOURNAL_READ_ENTRIES = 64
"""Old entries read back from the store at once: at most 8 MiB, in the loop of the node."""
SNAPSHOT_ENTRIES = 10_000
"""Applied entries between two snapshots."""
SNAPSHOT_BYTES = 1024 * 1024 * 1024
"""A larger state is not saved: such a node replays its journal at each start."""
CLIENTS = 1_024
CLIENT_PIPELINE = 1_024

require(ENTRY_BYTES < PROPOSAL_BATCH_BYTES, "one entry must fit into a batch")
require(PROPOSAL_BATCH_BYTES < ENGINE_WINDOW_BYTES, "a batch must fit into the window, or each one is read back")
require(PROPOSAL_BATCH_BYTES * 2 <= FRAME_BYTES, "a batch and its framing must fit into a frame")
require(POLICY_BYTES < ENVELOPE_BYTES, "a policy must fit into an envelope")
require(SCHEMA_BYTES < ENVELOPE_BYTES, "a schema must fit into an envelope")
require(VOTERS % 2 == 1, "an even maximum of voters adds a voter without adding tolerance")

RESPONSE_BYTES = 8 * 1024 * 1024
CLIENT_BUFFERED_BYTES = 64 * 1024 * 1024
ALLOW_VALIDITY_MS = 10 * 60 * 1000
"""No lease is longer. A client refuses an allow that claims to hold longer than this from now."""

require(REQUEST_BYTES < FRAME_BYTES, "a request and its framing must fit into a frame")
require(ENVELOPE_BYTES < FRAME_BYTES, "an envelope and its framing must fit into a frame")
require(FRAME_BYTES <= RESPONSE_BYTES <= CLIENT_BUFFERED_BYTES, "one client's answer must fit into the budget of all")
require(SLICE_ENTITIES <= SLICES_CACHED_ENTITIES, "the largest slice must fit into the cache")
require(PENDING_SUBMITS_OF_ONE * 2 <= PENDING_SUBMITS, "one authority must leave places for others")
require(ENGINE_BACKLOG_ENTRIES >= PENDING_SUBMITS, "every pending submit must fit into the log's uncommitted tail")
require(POLICIES < POLICY_SETS_CACHED_POLICIES, "the set of all policies must fit into the cache")

CANONICAL_DEPTH = 64
ENTITY_BYTES = 32 * 1024
GENESIS_BYTES = 1024 * 1024
CERTIFICATE_BYTES = 4096
CLOCK_DRIFT_PPM = 100_000
LEASE_MS = 10 * 60 * 1000
LEASE_LEAST_MS = 100
LEAVES_KEPT = 8_192
"""Decoded leaves held in memory; the store holds all of them."""
COMMANDS_PRUNED_PER_ENTRY = 8
"""Each entry adds at most one command id, so removing up to this many keeps pace and bounds the work."""

require(ENTITY_DEPTH + 8 < CANONICAL_DEPTH, "an entity's attributes must fit into a payload and a record")
require(ENTITY_BYTES < ENVELOPE_BYTES, "an entity must fit into an envelope")
require(COMMANDS_PRUNED_PER_ENTRY > 1, "command ids must be forgotten faster than they come")
require(LEASE_MS <= ALLOW_VALIDITY_MS, "an allow of the longest lease must be acceptable to a client")
require(POLICY_VERSIONS_KEPT > 2, "the active version and the latest one must both be kept when one is dropped")

PERMIT_MS = 5 * 60 * 1000
"""Life of a portable permit, at most and by default. What was revoked may still be shown a permit for this long."""
PERMIT_LEAST_MS = 1_000
PERMIT_CERTIFICATE_AGE_MS = 24 * 60 * 60 * 1000
"""A quorum made a permit's certificate at most so long before or after the permit was issued."""
PERMIT_BYTES = 32 * 1024
"""Of its envelope: two requests' worth of uids, and the signatures of all voters, leave much of it free."""
PERMIT_TIME_MAX_MS = 253_402_300_799_999
"""The end of the year 9999, as for the genesis."""
ANCHORED_LOGS = 256
"""Decision logs that one node ever anchored: each is remembered, so that none is taken up again."""
PERMITS_REDEEMED = 100_000
PERMITS_PRUNED_PER_ENTRY = 8
"""Each redeemed permit adds one record, so removing up to this many keeps pace and bounds the work."""
AUTHORIZATIONS = 256
"""Permits that one node collects signatures for at a time."""
AUTHORIZATIONS_OF_ONE = 16
"""Of one client."""
AUTHORIZATIONS_HELD = 256
"""Statements of other nodes that wait until this node holds the state that they speak of."""
EVIDENCE_KEPT = 64
"""Contradictions of other nodes that one node keeps."""

require(PERMITS_PRUNED_PER_ENTRY > 1, "redeemed permits must be forgotten faster than they come")
require(PERMIT_BYTES * 4 // 3 + 4096 < ENVELOPE_BYTES, "a permit must fit into the command that redeems it")
require(0 < PERMIT_LEAST_MS < PERMIT_MS < COMMAND_VALIDITY_MS, "a permit must be redeemable while it lives")
require(AUTHORIZATIONS_OF_ONE * 2 <= AUTHORIZATIONS, "one client must leave places for others")

RECORD_BYTES = 1024 * 1024
"""One record of a decision log."""
RECORD_ERRORS = 16
RECORD_TEXT_CHARS = 2_048
DECISION_BUFFER_RECORDS = 65_536
DECISION_BUFFER_BYTES = 32 * 1024 * 1024
"""Requests on their way into the decision log, as they were encoded."""

require(POLICIES * 72 + REQUEST_BYTES * 3 < RECORD_BYTES, "a decision that every policy determined must fit into one")

ATTESTATIONS = 100_000
"""One for each entity, predicate type and attestor. Beyond it, the longest expired makes room for a new one."""
ATTESTATION_LIFE_MS = 400 * 24 * 3600 * 1000
"""From the entry that records it. A little over a year, so that a yearly statement need not come on the day."""
ATTESTATION_SUBJECTS = 64

GRANTS = 100_000
GRANTS_OF_HOLDER = 1_000
"""A check may have to look at all grants of each group that a principal belongs to."""
GRANT_DEPTH = 16
GRANT_UIDS = 64
"""Actions, and resources, of one grant."""
GRANT_KEPT_MS = 48 * 3600 * 1000
"""How long a grant is kept after its end, or its revocation: so long its id is taken."""

require(GRANT_KEPT_MS > COMMAND_VALIDITY_MS, "no signed command may outlive the grant that it names")

BOUNDARIES_OF_DOMAIN = 256
"""A check holds the request against all of them, in each domain up to the root."""
BOUNDARIES = 10_000
BOUNDARY_WINDOWS = 64
BOUNDARY_REGIONS = 64
RATE_COUNTS = 100_000
"""Subjects that one node counts the allows of, all boundaries together; one more is denied."""

require(AUTHORITIES <= AUTHORITIES_EVER, "authorities that may act were all added once")
require(PROPOSALS_OPEN_OF_ONE * 2 <= PROPOSALS_OPEN, "one author must leave places for others")
require(PROPOSALS_PRUNED_PER_ENTRY > 1, "expired proposals must be closed faster than new ones come")
require(PROPOSALS_PRUNED_PER_ENTRY < PROPOSALS_CLOSED, "what one entry closes must be kept by that entry")

DOMAINS = 1_000
DOMAIN_DEPTH = 16
"""Domains between a domain and the root, itself included."""
DOMAIN_POLICIES = 1_000
"""Of one domain below the root."""
DOMAIN_POLICY_VERSIONS_KEPT = 8
"""As `POLICY_VERSIONS_KEPT`, of one domain below the root."""
DOMAIN_NAME_REST_MS = 7 * 24 * 3600 * 1000
"""How long the name of a removed domain stays unused: until nothing signed for the old one can still be valid."""
DOMAIN_NAMES_RESTING = 10_000
DOMAIN_NAMES_PRUNED_PER_ENTRY = 8
EFFECTIVE_SETS_CACHED = 1_024
EFFECTIVE_SETS_CACHED_POLICIES = 65_536

require(COMMAND_VALIDITY_MS <= DOMAIN_NAME_REST_MS, "no command for a removed domain may reach its heir")
require(PROPOSAL_LIFE_MS <= DOMAIN_NAME_REST_MS, "no proposal for a removed domain may reach its heir")
require(DOMAIN_POLICY_VERSIONS_KEPT > 2, "the active version and the latest one must both be kept when one is dropped")
require(DOMAINS < EFFECTIVE_SETS_CACHED, "the set of each domain must fit into the cache")
require(POLICIES < EFFECTIVE_SETS_CACHED_POLICIES, "the largest set must fit into the cache")
