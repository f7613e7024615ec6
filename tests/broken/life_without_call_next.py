# expect: 6: Policy.lifespan must take call_next -> await call_next()
from mailstack import Server, Stack, hookimpl


class Policy:
    @hookimpl
    async def lifespan(self, server):
        return None


server = Server(Stack(Policy()))
