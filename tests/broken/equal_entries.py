# expect: 16: Tag#2: it equals an entry before it -> @dataclass(eq=False)
from dataclasses import dataclass

from mailstack import Server, Stack, hookimpl


@dataclass(frozen=True)
class Tag:
    text: str

    @hookimpl
    def message(self, message):
        return None


server = Server(Stack(Tag("a"), Tag("a")))
