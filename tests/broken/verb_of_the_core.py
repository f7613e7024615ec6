# expect: 13: Goodbye declares QUIT, which is the core's -> leave it out
from mailstack import Server, Stack, hookimpl


class Goodbye:
    verbs = ("QUIT",)

    @hookimpl
    def command(self, command):
        return None


server = Server(Stack(Goodbye()))
