"""Lease stores. Each is a module of its own, imported only by whoever uses it.

`memory` serves the conductors of one Trio run; `sqlite` the processes of one machine. A store imports
`conductor_jobs.lease`, the rules in `conductor_jobs.records`, clocks and errors, never the engine.
"""
