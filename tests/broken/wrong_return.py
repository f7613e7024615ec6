# expect: 6: Policy.rcpt is annotated to return bool -> Reply | None
from mailstack import Server, Stack, hookimpl


class Policy:
    @hookimpl
    def rcpt(self, recipient) -> bool:
        return True


server = Server(Stack(Policy()))
