"""Deterministic simulation: the production servers on a virtual clock, a faulty network and forgetful disks."""
