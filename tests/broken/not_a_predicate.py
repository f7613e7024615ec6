# expect: 5: 'example.org' is not a predicate -> mailstack.predicate
from mailstack import Server, Stack, Unless
from mailstack.handlers import discard

server = Server(Stack(Unless("example.org", discard.Discard())))
