# expect: 12: Paint declares XPAINT and has no `command` -> answer it in a `command` hook
from mailstack import Server, Stack, hookimpl


class Paint:
    verbs = ("XPAINT",)

    @hookimpl
    def connect(self): ...


server = Server(Stack(Paint()))
