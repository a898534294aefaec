"""Processes: how controllers and brokers become nodes, and nodes a cluster on this machine.

The composition root. It alone may import `controller`, `broker` and `client`; nothing imports it.
"""
