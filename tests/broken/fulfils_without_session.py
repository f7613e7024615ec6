# expect: 13: Shakes fulfils tls and has no `session` -> do it in a `session` hook
from mailstack import Server, Stack, hookimpl


class Shakes:
    fulfils = ("tls",)

    @hookimpl
    def command(self, command):
        return None


server = Server(Stack(Shakes()))
