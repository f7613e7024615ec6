# expect: 5: Server(hostname): 'mx@example.org' is not a domain -> write "example.org"
from mailstack import Server, Stack
from mailstack.handlers import discard

server = Server(Stack(discard.Discard()), hostname="mx@example.org")
