# expect: 5: unexpected keyword argument 'hostnmae' -> did you mean hostname?
from mailstack import Server, Stack
from mailstack.handlers import discard

server = Server(Stack(discard.Discard()), hostnmae="mx.example.org")
