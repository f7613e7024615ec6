# expect: 5: Limit(on_fault): 'ignore' is not known here -> write "defer" or "pass" or "reject"
from mailstack import Limit, Server, Stack
from mailstack.handlers import discard

server = Server(Stack(Limit(discard.Discard(), on_fault="ignore")))
