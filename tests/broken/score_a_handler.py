# expect: 5: discard cannot be scored: it implements queue, and nobody judges points after that -> score only checks
from mailstack import Score, Server, Stack
from mailstack.handlers import discard

server = Server(Stack(Score(discard.Discard(), points=5)))
