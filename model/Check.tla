------------------------------- MODULE Check -------------------------------
(* What the model checker needs besides the protocol itself.               *)
EXTENDS Lease, TLC


\* Nodes with the same part in everything are interchangeable.
Alike == {p \in Permutations(Honest) : \A n \in Honest : (n \in Old <=> p[n] \in Old) /\ (n \in New <=> p[n] \in New)}

\* Clocks that are off by as much as drift permits, either way, from tick to tick: the fast runs twice as fast.
Within == {<<1, 1>>, <<2, 2>>}

\* The worst of both at once: slow where a node holds, fast where it grants. Permits more than any real clock.
Worst == {<<1, 2>>}

\* Each of these must be refuted: what never happens proves nothing when it is safe.
NothingServed == \A h \in Honest : ~Serves(h)
NothingServedBeyondOne == \A h \in Honest : Serves(h) => lease[h].seq = 1
NothingBeyondChange == \A c \in certified : c[1] <= Change
NothingCertified == certified = {<<1, Genesis>>}
=============================================================================
