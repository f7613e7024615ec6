# expect: 4: Threshold() refuses nothing -> write reject_at=…, defer_at=…, or both
from mailstack import Server, Stack, Threshold

server = Server(Stack(Threshold()))
