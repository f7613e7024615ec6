"""Certificates on disk, for servers: found, checked, chosen by name, loaded again when their files change.

    certificates = Certificates("/etc/letsencrypt/live", terms=Terms(minimum="TLSv1.3"))
    context = await certificates.context("mx.example.org")      # for ssl; None while there is no certificate at all

`place` finds the files and checks each certificate, `terms` makes the contexts, `choice` knows which one is for whom.
"""

from .certificates import Certificates
from .terms import Terms

__all__ = ["Certificates", "Terms"]
