# expect: 14: Soft cannot be postponed: its mail is an onion, which has acted when it answers -> postpone checks only
from mailstack import Limit, Postpone, Server, Stack, hookimpl


class Soft:
    @hookimpl
    async def mail(self, call_next):
        return await call_next()


server = Server(
    Stack(
        Postpone(
            Limit(Soft(), timeout=5),
        ),
    ),
)
