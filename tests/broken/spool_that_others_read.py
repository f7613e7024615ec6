# expect: 12: can be read by others -> chmod 700
import os
import tempfile

from mailstack import Server, Stack
from mailstack.handlers import discard

folder = tempfile.mkdtemp(prefix="mailstack-broken-")
os.chmod(folder, 0o755)


server = Server(
    Stack(discard.Discard()),
    spool=folder,
)
