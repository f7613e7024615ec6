# expect: 11: Around cannot be observed: it implements session, it holds the conversation itself -> decides in phases
from mailstack import Observe, Server, Stack, hookimpl


class Around:
    @hookimpl
    async def session(self, call_next):
        await call_next()


server = Server(Stack(Observe(Stack(Around()))))
