# expect: -: it has no `server` -> :mx
from mailstack import Server, Stack
from mailstack.handlers import discard

mx = Server(Stack(discard.Discard()))
