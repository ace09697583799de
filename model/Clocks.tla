------------------------------- MODULE Clocks -------------------------------
(***************************************************************************)
(* Wall clocks: whoever holds a lease tells about the time that a quorum   *)
(* tells. The round of `Lease.tla` without seqs: here a lease is a lease   *)
(* whatever it is on, and all that matters is whose clock vouches for it.  *)
(*                                                                         *)
(* Boot time is true time (drift is the matter of `Lease.tla`). A wall     *)
(* clock is true time and a fixed offset. Anybody may ask, and several do  *)
(* at once; a liar says any wall time that some node might have, shows     *)
(* each node another probe if it likes, and acks everything.               *)
(***************************************************************************)
EXTENDS Integers, FiniteSets, TLC

CONSTANTS
    Nodes,      \* Voters; each is a holder.
    Liars,      \* Nodes that sign anything.
    Quorum,     \* So many make one.
    Offsets,    \* By how much a wall clock may be off.
    Skew,       \* clock_skew_max.
    Hold,       \* The length of a lease, from when its nonce was made.
    End,        \* True time at which the world ends.
    ProbesMax,  \* How many probes there may be.
    Without     \* Rules that are left out.

VARIABLES now, off, nonce, probes, lease
vars == <<now, off, nonce, probes, lease>>

Honest == Nodes \ Liars
Has(rule) == rule \notin Without
Rules == {"clock-at-ack", "clock-at-receipt", "private-probe"}
ASSUME Without \subseteq Rules

Wall(n, at) == at + off[n]
Never == -1

Init ==
    /\ now = 0
    /\ off \in [Nodes -> Offsets]
    /\ nonce = [n \in Honest |-> Never]
    /\ probes = {}
    /\ lease = [n \in Honest |-> Never]

\* A probe grants a nonce or none: each holder looks at its own only, so more of them in one probe show nothing new.
\* Who asks does not matter but for the wall clock, and a liar says any.
Ask ==
    /\ Cardinality(probes) < ProbesMax
    /\ \E wall \in IF Liars = {} THEN {Wall(a, now) : a \in Nodes} ELSE {now + o : o \in Offsets},
          holders \in {{h} : h \in {g \in Honest : nonce[g] # Never}} \cup {{}} :
        probes' = probes \cup {[wall |-> wall, at |-> now, acks |-> {}, grants |-> [h \in holders |-> nonce[h]]]}
    /\ UNCHANGED <<now, off, nonce, lease>>

Granted(n, p) == n \in DOMAIN p.grants /\ now < p.grants[n] + Hold

\* Two moments of the own clock enclose the signing of a probe that grants an own nonce.
IsNear(n, p) ==
    LET since == IF Granted(n, p) THEN p.grants[n] ELSE now
    IN  Wall(n, since) - Skew <= p.wall /\ p.wall <= Wall(n, now) + Skew

Ack(n, p) ==
    /\ n \notin p.acks
    /\ Has("clock-at-ack") => IsNear(n, p)
    /\ probes' = (probes \ {p}) \cup {[p EXCEPT !.acks = @ \cup {n}]}
    /\ nonce' = [nonce EXCEPT ![n] = now]
    /\ UNCHANGED <<now, off, lease>>

\* Acks of this very probe carry it. Left out, a holder's own ack of another one is enough to trust the clock.
Accept(h, p) ==
    /\ Granted(h, p)
    /\ Cardinality(p.acks \cup Liars) >= Quorum
    /\ (Has("clock-at-receipt") /\ Has("private-probe")) => IsNear(h, p)
    /\ (Has("clock-at-receipt") /\ ~Has("private-probe")) => \E q \in probes : h \in q.acks /\ q.at <= p.at /\ IsNear(h, q)
    /\ lease' = [lease EXCEPT ![h] = p.grants[h] + Hold]
    /\ UNCHANGED <<now, off, nonce, probes>>

Tick ==
    /\ now < End
    /\ now' = now + 1
    /\ lease' = [h \in Honest |-> IF lease[h] <= now' THEN Never ELSE lease[h]]
    /\ UNCHANGED <<off, nonce, probes>>

Next ==
    \/ Ask
    \/ \E p \in probes : \E n \in Honest : Ack(n, p) \/ Accept(n, p)
    \/ Tick

Alike == Permutations(Honest)

Spec == Init /\ [][Next]_vars

Apart(a, b) == IF off[a] > off[b] THEN off[a] - off[b] ELSE off[b] - off[a]

\* Whoever may allow is within twice the skew and a lease of a quorum's clocks, liars not counted against it.
NoLoneClock ==
    \A h \in Honest : lease[h] # Never =>
        Cardinality({v \in Nodes : v \in Liars \/ Apart(h, v) <= 2 * (Skew + Hold)}) >= Quorum

\* Must be refuted: what never happens proves nothing when it is safe.
NobodyServes == \A h \in Honest : lease[h] = Never
=============================================================================
