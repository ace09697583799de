------------------------------- MODULE Lease -------------------------------
(***************************************************************************)
(* When may a node answer "allow"? The round of checkpoints, quorum        *)
(* certificates and cosigned leases, with everything around it untrusted.  *)
(*                                                                         *)
(* Raft is not here. What it decides (who leads, in which term, how far a  *)
(* node has applied the log, and even which log) is chosen freely: any     *)
(* node may probe any seq at any time, and several do so at once. Messages *)
(* are never removed, so each may be lost, late or doubled. A node that    *)
(* takes no step is paused; one that restarts loses all but its disk.      *)
(*                                                                         *)
(* Time is kept as what is left of each lease, nonce and grant. A tick     *)
(* moves each node's own clock by any of `Advances`; the ratio between     *)
(* the least and the most of them is what drift permits.                   *)
(*                                                                         *)
(* README.md says which rule of the protocol each line stands for, and why *)
(* each reduction loses no violation.                                      *)
(***************************************************************************)
EXTENDS Naturals, FiniteSets

CONSTANTS
    Nodes,      \* Everybody: voters and observers; each of them is a holder.
    Liars,      \* Nodes that sign anything, at any time. They serve nobody.
    Old, New,   \* The voters before and after the change of the electorate.
    Change,     \* The seq of that change; 0 if there is none.
    Top,        \* The highest seq.
    Roots,      \* The lineages that a lying sequencer may show beyond seq 1.
    Byzantine,  \* Whether a quorum is more than two thirds instead of a majority.
    Hold,       \* How long a holder may serve from when it made the nonce: L(1-rho).
    Grant,      \* How long a voter counts a grant as outstanding: L(1+rho).
    Advances,   \* By how much a node's clock may advance in one tick of true time: <<as holder, as voter>>.
    ProbesMax,  \* How many probes may matter at once.
    Pages,      \* Whether a client's page outlives its node: it goes on allowing until the lease would have ended.
    Split,      \* Whether the write to disk and the sending of an ack are steps of their own.
    Reduced,    \* Whether what can no longer matter is forgotten; FALSE for recorded traces.
    Without     \* Rules that are left out.

VARIABLES
    acked,      \* Per node: the highest seq acked, with its root, as this life knows it.
    durable,    \* The same, as the disk knows it.
    moved,      \* Per node: the highest seq in any ack that has left it.
    grants,     \* Every grant that may still run: by which voter, to which holder, at which seq, for how long.
    wait,       \* Per node: how long it still waits after a restart.
    nonce,      \* Per node: how long its newest nonce may still be leased; 0 if none.
    lease,      \* Per node: the seq of the lease it holds, and what is left of it.
    log,        \* Per node: the root that its lineage has beyond seq 1; "" while it has none.
    checking,   \* Per node: the seq on which a check began, if the clock is not read again; else 0.
    probes,     \* What has been asked, by whomever, and what was answered.
    certified   \* Every <<seq, root>> for which a certificate can be put together.

vars == <<acked, durable, moved, grants, wait, nonce, lease, log, checking, probes, certified>>

Seqs == 1..Top
Honest == Nodes \ Liars
Genesis == "genesis"
Has(rule) == rule \notin Without

Rules == {"nonce-time", "max-ack", "durable-first", "up-for-grant", "outstanding", "outstanding-checked",
          "epoch-certificate", "stop-serving", "ack-names-probe", "clock-again", "lineage-kept", "quorum"}
ASSUME Without \subseteq Rules

Max(a, b) == IF a > b THEN a ELSE b
Less(a, b) == IF a > b THEN a - b ELSE 0

-----------------------------------------------------------------------------
(* Quorums and certificates.                                               *)

QuorumOf(voters, set) ==
    LET count == Cardinality(set \cap voters)
        n == Cardinality(voters)
    IN  IF ~Has("quorum") THEN count >= 1
        ELSE IF Byzantine THEN count >= (2 * n) \div 3 + 1 ELSE count >= n \div 2 + 1

\* Up to the change the old electorate decides, beyond it the new one, at the change both.
Electorates(seq) ==
    IF Change = 0 \/ seq < Change THEN {Old} ELSE IF seq = Change THEN {Old, New} ELSE {New}

MovedOn(seq, departed) == {n \in Nodes : departed[n] >= seq} \cup Liars

\* Whose acks carry a probe: those whose outstanding holders have all moved on.
Carriers(p, all, departed) ==
    LET sources == IF Has("ack-names-probe") THEN {p} ELSE {q \in all : q.seq = p.seq /\ q.root = p.root}
        acks == UNION {q.acks : q \in sources}
        good == {a \in acks : Has("outstanding-checked") => a.waiting \subseteq MovedOn(p.seq, departed)}
    IN  {a.node : a \in good} \cup Liars

Carried(p, all, departed) == \A voters \in Electorates(p.seq) : QuorumOf(voters, Carriers(p, all, departed))

Newly(all, departed) == {<<p.seq, p.root>> : p \in {q \in all : Carried(q, all, departed)}}

-----------------------------------------------------------------------------
(* What can no longer matter is forgotten: see README.md, "Reductions".    *)

Seen(seq, known) == \E c \in known : c[1] >= seq

TidyProbe(p, departed, lowest, held) ==
    [p EXCEPT
        !.grants = [h \in {g \in DOMAIN p.grants : /\ p.grants[g] > 0
                                                   /\ Has("stop-serving") => p.seq >= lowest[g]
                                                   /\ ~(held[g].seq = p.seq /\ held[g].left >= p.grants[g])
                                                   /\ ~(Has("stop-serving") /\ held[g].left > 0 /\ held[g].seq > p.seq)}
                    |-> p.grants[h]],
        !.acks = LET still == {[a EXCEPT !.waiting = a.waiting \ MovedOn(p.seq, departed)] : a \in p.acks}
                 IN  {a \in still : ~\E b \in still : /\ b.node = a.node
                                                      /\ b.waiting \subseteq a.waiting
                                                      /\ b # a}]

Matters(p, known) ==
    \/ DOMAIN p.grants # {}
    \/ p.unsent # {}
    \/ ~Has("ack-names-probe")
    \/ /\ <<p.seq, p.root>> \notin known
       /\ ~(Cardinality(Roots) = 1 /\ p.seq # Change /\ Seen(p.seq, known))

Tidy(all, departed, lowest, held, known) ==
    IF ~Reduced THEN all
    ELSE {p \in {TidyProbe(q, departed, lowest, held) : q \in all} : Matters(p, known)}

\* A grant at a seq beyond which its holder has moved, for whatever is still to come, stands in nobody's way.
TidyGrants(all, departed) ==
    IF ~Reduced THEN all ELSE {g \in all : g.seq # Top /\ g.to # g.by /\ departed[g.to] # Top}

Bounded(all) == Reduced => Cardinality(all) <= ProbesMax

-----------------------------------------------------------------------------

NoLease == [seq |-> 0, left |-> 0]
Never == [seq |-> 0, root |-> ""]

Init ==
    /\ acked = [n \in Honest |-> Never]
    /\ durable = [n \in Honest |-> Never]
    /\ moved = [n \in Nodes |-> 0]
    /\ grants = {}
    /\ wait = [n \in Honest |-> 0]
    /\ nonce = [n \in Honest |-> 0]
    /\ lease = [n \in Honest |-> NoLease]
    /\ log = [n \in Honest |-> ""]
    /\ checking = [n \in Honest |-> 0]
    /\ probes = {}
    /\ certified = {<<1, Genesis>>}

\* Step 2 of the round. Nobody vouches for a probe: any seq, any root, grants to whom the asker likes.
\* The name only tells recorded probes apart.
Question(name, seq, root, left) ==
    [name |-> name, seq |-> seq, root |-> root, grants |-> left, acks |-> {}, unsent |-> {}]

\* Those to whom `v` granted a lease at a lower seq that may still run.
Outstanding(v, seq) ==
    IF Has("outstanding") THEN {g.to : g \in {t \in grants : t.by = v /\ t.seq < seq}} ELSE {}

MayAnswer(v, p) ==
    /\ Has("up-for-grant") => wait[v] = 0
    /\ Has("max-ack") => p.seq >= acked[v].seq
    /\ p.seq = 1 \/ log[v] \in {"", p.root}
    /\ (Has("lineage-kept") /\ acked[v].seq > 1) => (IF p.seq > 1 THEN p.root ELSE log[v]) = acked[v].root
    /\ (Has("epoch-certificate") /\ Change # 0 /\ p.seq > Change) => \E c \in certified : c[1] = Change

\* Step 3. `v` answers `p`: it stops serving below, records the grants, makes a nonce and its ack.
\* Unless Split, the ack is durable and leaves in the same step.
Answer(v, p) ==
    LET ack == [node |-> v, waiting |-> Outstanding(v, p.seq)]
        record == IF p.seq > acked[v].seq THEN [seq |-> p.seq, root |-> p.root] ELSE acked[v]
        departed == IF Split THEN moved ELSE [moved EXCEPT ![v] = Max(@, p.seq)]
        held == IF Has("stop-serving") /\ lease[v].seq < p.seq THEN [lease EXCEPT ![v] = NoLease] ELSE lease
        lowest == [n \in Honest |-> IF n = v THEN record.seq ELSE acked[n].seq]
        answered == IF Split THEN [p EXCEPT !.unsent = @ \cup {ack}] ELSE [p EXCEPT !.acks = @ \cup {ack}]
        all == (probes \ {p}) \cup {answered}
        known == certified \cup Newly(all, departed)
        granted == {g \in grants : ~(g.by = v /\ g.to \in DOMAIN p.grants /\ g.seq = p.seq)}
                   \cup {[by |-> v, to |-> h, seq |-> p.seq, left |-> Grant] : h \in DOMAIN p.grants}
    IN  /\ MayAnswer(v, p)
        /\ acked' = [acked EXCEPT ![v] = record]
        /\ durable' = IF Split \/ ~Has("durable-first") THEN durable ELSE [durable EXCEPT ![v] = record]
        /\ moved' = departed
        /\ grants' = TidyGrants(granted, departed)
        /\ nonce' = [nonce EXCEPT ![v] = IF Reduced /\ Has("stop-serving") /\ record.seq = Top THEN 0 ELSE Hold]
        /\ lease' = held
        /\ log' = IF p.seq > 1 THEN [log EXCEPT ![v] = p.root] ELSE log
        /\ certified' = known
        /\ probes' = Tidy(all, departed, lowest, held, known)
        /\ Bounded(probes')
        /\ UNCHANGED <<wait, checking>>

\* The disk of `n` now holds what its node knew at some time up to now.
Write(n, record) ==
    /\ record.seq > durable[n].seq
    /\ record.seq <= acked[n].seq
    /\ durable' = [durable EXCEPT ![n] = record]
    /\ UNCHANGED <<acked, moved, grants, wait, nonce, lease, log, checking, probes, certified>>

\* An ack leaves its node.
Leave(p, ack) ==
    LET n == ack.node
        departed == [moved EXCEPT ![n] = Max(@, p.seq)]
        lowest == [m \in Honest |-> acked[m].seq]
        sent == [p EXCEPT !.unsent = @ \ {ack}, !.acks = @ \cup {ack}]
        all == (probes \ {p}) \cup {sent}
        known == certified \cup Newly(all, departed)
    IN  /\ ack \in p.unsent
        /\ Has("durable-first") => durable[n].seq >= p.seq
        /\ moved' = departed
        /\ certified' = known
        /\ grants' = TidyGrants(grants, departed)
        /\ probes' = Tidy(all, departed, lowest, lease, known)
        /\ UNCHANGED <<acked, durable, wait, nonce, lease, log, checking>>

\* How long a lease runs for `h`, if it takes it now: counted from when it made the nonce.
Counted(h, p) == IF Has("nonce-time") THEN p.grants[h] ELSE Hold

\* Step 5. A holder takes a carried lease.
Accept(h, p) ==
    LET left == Counted(h, p)
        held == [lease EXCEPT ![h] = [seq |-> p.seq, left |-> left]]
        lowest == [n \in Honest |-> acked[n].seq]
    IN  /\ h \in DOMAIN p.grants
        /\ p.grants[h] > 0
        /\ Carried(p, probes, moved)
        /\ Has("stop-serving") => p.seq >= acked[h].seq
        /\ p.seq >= lease[h].seq
        /\ lease' = held
        /\ probes' = Tidy(probes, moved, lowest, held, certified)
        /\ UNCHANGED <<acked, durable, moved, grants, wait, nonce, log, checking, certified>>

\* True time passes: by `d[n]` on the clock of `n`.
Tick(d) ==
    LET later == [h \in Honest |-> [lease[h] EXCEPT !.left = Less(@, d[h][1])]]
        held == [h \in Honest |-> IF Reduced /\ later[h].left = 0 THEN NoLease ELSE later[h]]
        aged == {[p EXCEPT !.grants = [h \in DOMAIN p.grants |->
                    IF Has("nonce-time") THEN Less(p.grants[h], d[h][1]) ELSE p.grants[h]]] : p \in probes}
        lowest == [n \in Honest |-> acked[n].seq]
    IN  /\ wait' = [n \in Honest |-> Less(wait[n], d[n][2])]
        /\ nonce' = [n \in Honest |-> Less(nonce[n], d[n][1])]
        /\ grants' = {[g EXCEPT !.left = @ - d[g.by][2]] : g \in {t \in grants : t.left > d[t.by][2]}}
        /\ lease' = held
        /\ probes' = Tidy(aged, moved, lowest, held, certified)
        /\ UNCHANGED <<acked, durable, moved, log, checking, certified>>

\* A node starts again with what its disk holds. What it had not sent is never sent.
Restart(n) ==
    LET held == IF Pages THEN lease ELSE [lease EXCEPT ![n] = NoLease]
        known == [acked EXCEPT ![n] = durable[n]]
        lowest == [m \in Honest |-> known[m].seq]
        left == {[p EXCEPT !.grants = [h \in DOMAIN p.grants |-> IF h = n THEN 0 ELSE p.grants[h]],
                           !.unsent = {a \in p.unsent : a.node # n}] : p \in probes}
    IN  /\ acked' = known
        /\ grants' = {g \in grants : g.by # n}
        /\ wait' = [wait EXCEPT ![n] = Grant]
        /\ nonce' = [nonce EXCEPT ![n] = 0]
        /\ lease' = held
        /\ checking' = [checking EXCEPT ![n] = 0]
        /\ probes' = Tidy(left, moved, lowest, held, certified)
        /\ UNCHANGED <<durable, moved, log, certified>>

\* The untrusted engine or a disk gives `n` another history beyond seq 1.
LoseLog(n) ==
    /\ Cardinality(Roots) > 1
    /\ log[n] # ""
    /\ log' = [log EXCEPT ![n] = ""]
    /\ UNCHANGED <<acked, durable, moved, grants, wait, nonce, lease, checking, probes, certified>>

\* The gate, rules 1 and 2: a live lease, at a seq beyond which the node has neither acked nor applied.
Serves(h) == lease[h].left > 0

StartCheck(h) ==
    /\ ~Has("clock-again")
    /\ Serves(h)
    /\ checking[h] # lease[h].seq
    /\ checking' = [checking EXCEPT ![h] = lease[h].seq]
    /\ UNCHANGED <<acked, durable, moved, grants, wait, nonce, lease, log, probes, certified>>

\* The seqs on whose state `h` can answer "allow" now.
Allows(h) ==
    (IF Serves(h) THEN {lease[h].seq} ELSE {}) \cup (IF checking[h] # 0 THEN {checking[h]} ELSE {})

-----------------------------------------------------------------------------
(* A fresh probe is made by its first answer: before that it changes       *)
(* nothing. Only live nonces are granted, and an answer is repeated only   *)
(* if it says something new, a lease taken only if it gives more.          *)

FirstAnswer(v, seq, root, holders) ==
    Answer(v, Question("", seq, root, [h \in holders |-> nonce[h]]))

IsNews(v, p) ==
    \A a \in p.acks \cup p.unsent : a.node = v => ~(a.waiting \subseteq Outstanding(v, p.seq) \ MovedOn(p.seq, moved))

\* A lease at the top is never stale, and a grant there is in nobody's way.
Grantees(seq) == IF seq = Top THEN {} ELSE {h \in Honest : nonce[h] > 0}

RootsAt(seq) == IF seq = 1 THEN {Genesis} ELSE Roots

AnswerFresh ==
    \E v \in Honest, seq \in Seqs : \E root \in RootsAt(seq), holders \in SUBSET Grantees(seq) :
        /\ Cardinality(probes) < ProbesMax \/ (holders = {} /\ <<seq, root>> \in certified)
        /\ FirstAnswer(v, seq, root, holders)
AnswerKnown == \E p \in probes, v \in Honest : IsNews(v, p) /\ Answer(v, p)
AcceptLease ==
    \E p \in probes : \E h \in DOMAIN p.grants : (p.seq > lease[h].seq \/ Counted(h, p) > lease[h].left) /\ Accept(h, p)
Pass == \E d \in [Honest -> Advances] : Tick(d)
Begin == \E n \in Honest : Restart(n)
Lose == \E n \in Honest : LoseLog(n)
BeginCheck == \E h \in Honest : StartCheck(h)
Persist == \E n \in Honest : Write(n, acked[n])
Send == \E p \in probes : \E a \in p.unsent : Leave(p, a)

Next == AnswerFresh \/ AnswerKnown \/ AcceptLease \/ Pass \/ Begin \/ Lose \/ BeginCheck \/ Persist \/ Send

Spec == Init /\ [][Next]_vars

-----------------------------------------------------------------------------

TypeOK ==
    /\ \A n \in Honest : acked[n].seq \in 0..Top /\ durable[n].seq \in 0..acked[n].seq
    /\ \A n \in Honest : wait[n] \in 0..Grant /\ nonce[n] \in 0..Hold /\ lease[n].left \in 0..Hold
    /\ \A g \in grants : g.by \in Honest /\ g.to \in Honest /\ g.seq \in Seqs /\ g.left \in 1..Grant

\* No node can allow at i once a certificate for a j > i exists.
NoStaleAllow == \A h \in Honest, i \in Seqs : i \in Allows(h) => \A c \in certified : c[1] <= i

\* One lineage: whatever is certified beyond the genesis lies on it.
NoFork == \A c, e \in certified : (c[1] > 1 /\ e[1] > 1) => c[2] = e[2]

=============================================================================
