# expect: 6: Policy.mail: **known is not a plain parameter -> session, sender, call_next
from mailstack import Server, Stack, hookimpl


class Policy:
    @hookimpl
    def mail(self, **known):
        return None


server = Server(Stack(Policy()))
