"""The bench: CPU time and memory per message, mailstack beside aiosmtpd in the same run. See README.md.

Run as `python -m tests.bench` from the checkout's root. pytest does not collect this folder; no figure gates CI.
"""
