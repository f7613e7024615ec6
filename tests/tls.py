"""Certificates for tests, made once for each run: an authority, a server at mx.test, a client."""

from __future__ import annotations

import ssl
from functools import cache

import trustme


@cache
def authority() -> trustme.CA:
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


@cache
def server_context(*names: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority().issue_cert(*(names or ("mx.test",)), key_type=trustme.KeyType.ECDSA).configure_cert(context)
    return context


@cache
def client_context(user: str = "") -> ssl.SSLContext:
    """A client that trusts the authority; `user` -- its own certificate is that of this address."""
    context = ssl.create_default_context()
    authority().configure_trust(context)
    if user:
        authority().issue_cert(user, common_name=user, key_type=trustme.KeyType.ECDSA).configure_cert(context)
    return context


@cache
def asking_context() -> ssl.SSLContext:
    """A server that wants to see a certificate of the authority's."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority().issue_cert("mx.test", key_type=trustme.KeyType.ECDSA).configure_cert(context)
    authority().configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    return context
