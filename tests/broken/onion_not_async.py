# expect: 6: Policy.mail takes call_next but is a plain def -> async def
from mailstack import Server, Stack, hookimpl


class Policy:
    @hookimpl
    def mail(self, call_next):
        return call_next()


server = Server(Stack(Policy()))
