"""Real processes on one lease, killed, frozen and stopped at random, and the judge of what they leave behind.

    python -m tests.torture [--rounds N | --leaders N] [--nodes 3] [--ttl 1.0] [--seed S] [--folder DIR]
                            [--due-kills N] [--store URL | --server NAME] [--broken ENGINE]

Each module imports only what stands above it:

    faults      what is done to which node: decided by the seed, before anything runs
    evidence    the files in the folder: what was done, what the nodes did, what they wrote
    broken      engines with one promise broken each, which the judge must find out
    node        one process: a conductor whose leader's work notes every effect
    cluster     the processes: started, struck, healed, and none of them left behind
    judging     `judge(folder)`: what of all this must not be
    figures     how long failover, handover and stops took; what lies around a violation
    torture     the rounds, from the first start to the last judgement
    ledger      scheduled runs as their processes entered them, and the judge of that: each due instant once
    due_node    one process whose runners have schedules
    due_kills   the leader is killed at a due second, again and again
"""
