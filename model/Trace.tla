------------------------------- MODULE Trace -------------------------------
(***************************************************************************)
(* Recorded runs of real nodes, held against the steps of Lease.           *)
(*                                                                         *)
(* `Runs`, in module Recorded, is what was seen from outside in each run,  *)
(* in order; README.md says what each kind of event stands for. An event   *)
(* is one step of Lease, or a claim about its state. From each state only  *)
(* one event can be next, so a run is a behaviour of Lease exactly if the  *)
(* states reach its end. Each event that can be taken is printed: the      *)
(* first that is not printed is none of Lease.                             *)
(***************************************************************************)
EXTENDS Lease, Sequences, TLC, Recorded

VARIABLES
    run,        \* Which of the runs.
    next,       \* The event that comes next.
    made        \* Every nonce that may still be leased: whose, and what is left of it.

Event == Runs[run][next]
Asked == {p \in probes : p.name = Event.probe}

\* What is left of each nonce that a probe grants; nothing of one that is over, or was made in an earlier life.
Left(holder, id) ==
    LET known == {m \in made : m.id = id /\ m.by = holder} IN IF known = {} THEN 0 ELSE (CHOOSE m \in known : TRUE).left
Granted == [h \in {g[1] : g \in Event.grants} |-> Left(h, (CHOOSE g \in Event.grants : g[1] = h)[2])]

\* An ack was computed; it names whom it must, and its nonce is fresh.
Answered ==
    /\ Event.kind = "answer"
    /\ LET p == IF Asked # {} THEN CHOOSE q \in Asked : TRUE
                ELSE Question(Event.probe, Event.seq, Event.root, Granted)
       IN  /\ p.seq = Event.seq /\ p.root = Event.root /\ DOMAIN p.grants = DOMAIN Granted
           /\ Event.outstanding = Outstanding(Event.node, p.seq)
           /\ Answer(Event.node, p)
    /\ \A m \in made : m.id # Event.nonce
    /\ made' = made \cup {[id |-> Event.nonce, by |-> Event.node, left |-> Hold]}

\* Its disk holds the record of an ack.
Wrote ==
    /\ Event.kind = "write"
    /\ Write(Event.node, [seq |-> Event.seq, root |-> Event.root])
    /\ UNCHANGED made

\* An ack was given to the network. To a probe that came twice a node says the same twice.
Departed ==
    /\ Event.kind = "leave"
    /\ LET ack == [node |-> Event.node, waiting |-> Event.outstanding]
       IN  \/ \E p \in Asked : Leave(p, ack)
           \/ /\ \E p \in Asked : ack \in p.acks \ p.unsent
              /\ UNCHANGED vars
    /\ UNCHANGED made

\* A self-styled leader has put a certificate together that verifies.
Certified ==
    /\ Event.kind = "certified"
    /\ \E p \in Asked : Carried(p, probes, moved) /\ <<p.seq, p.root>> \in certified
    /\ UNCHANGED <<vars, made>>

\* A holder took a lease, and holds it to run for `left`.
Took ==
    /\ Event.kind = "accept"
    /\ \E p \in Asked : Accept(Event.node, p)
    /\ lease'[Event.node].left = Event.left
    /\ UNCHANGED made

\* The gate would answer, from the state at `applied`, under a lease at `seq`.
Served ==
    /\ Event.kind = "serve"
    /\ Serves(Event.node)
    /\ lease[Event.node].seq = Event.seq
    /\ Event.applied = Event.seq
    /\ UNCHANGED <<vars, made>>

Started ==
    /\ Event.kind = "restart"
    /\ Restart(Event.node)
    /\ made' = {m \in made : m.by # Event.node}

\* By how much each clock has moved since the event before.
Passed ==
    /\ Event.kind = "tick"
    /\ LET moved_by == [n \in Honest |-> LET d == (CHOOSE e \in Event.clocks : e[1] = n)[2] IN <<d, d>>]
       IN  /\ Tick(moved_by)
           /\ made' = {[m EXCEPT !.left = @ - moved_by[m.by][1]] : m \in {k \in made : k.left > moved_by[k.by][1]}}

\* The run says no more of these probes; those that have certified what they ask for can change nothing more.
Forgot ==
    /\ Event.kind = "forget"
    /\ probes' = {p \in probes : p.name \notin Event.probes \/ p.unsent # {} \/ ~Carried(p, probes, moved)}
    /\ UNCHANGED <<acked, durable, moved, grants, wait, nonce, lease, log, checking, certified, made>>

TraceInit == Init /\ next = 1 /\ made = {} /\ run \in DOMAIN Runs

TraceNext ==
    /\ next <= Len(Runs[run])
    /\ next' = next + 1
    /\ run' = run
    /\ (Answered \/ Wrote \/ Departed \/ Certified \/ Took \/ Served \/ Started \/ Passed \/ Forgot)
    /\ PrintT(<<"taken", run, next>>)

TraceSpec == TraceInit /\ [][TraceNext]_<<vars, run, next, made>>
=============================================================================
