# expect: 6: Policy.reset is async, but it is called in the middle of a dialog -> plain def
from mailstack import Server, Stack, hookimpl


class Policy:
    @hookimpl
    async def reset(self, session):
        return None


server = Server(Stack(Policy()))
