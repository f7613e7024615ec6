"""Hostile octets for the wire, without end.

    python -m tests.fuzz.wire --seconds 60         # the protocol without I/O
    python -m tests.fuzz.connection --seconds 60   # a whole server, over streams in memory

octets -- makes them. protocol, session -- the two targets: what must hold whatever the octets are.
engine -- runs a target, by atheris where it is installed. profile -- many examples for the property tests.
"""
