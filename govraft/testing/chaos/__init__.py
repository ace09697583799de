"""Chaos on real processes: a cluster under load, faults that come and go, and a judge of the whole record.

======================= =======================================================================================
module                  what it knows
======================= =======================================================================================
`command`               the command line, exit codes, progress
`planner`, `scenarios`  which faults come when: a pure function of seed, scenario and number of nodes
`members`               members that come and go all through a run, whatever else happens
`nemesis_…`             how each kind of fault is made, and how it is undone
`namespaces`            a network of kernel namespaces, one a node; `local_cluster_network` has the loopback proxy
`workload`, `load`      worker processes that ask and command, and write down every answer
`observer`              how each node was, polled from outside
`run`                   puts these together; `run_chaos` is the way in
`report`, `timeline`    what people look at afterwards
======================= =======================================================================================
"""
