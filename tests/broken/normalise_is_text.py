# expect: 5: Server(normalise): 'perhaps' is -> 
from mailstack import Server, Stack
from mailstack.handlers import discard

server = Server(Stack(discard.Discard()), normalise="perhaps")
