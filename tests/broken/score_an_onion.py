# expect: 12: Soft cannot be scored: its rcpt is an onion, which has acted when it answers -> score checks only
from mailstack import Score, Server, Stack, hookimpl


class Soft:
    @hookimpl
    async def rcpt(self, call_next):
        return await call_next()


server = Server(
    Stack(Score(Soft(), 5)),
)
