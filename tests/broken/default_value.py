# expect: 6: Policy.mail: session=None has a default value -> remove the default
from mailstack import Server, Stack, hookimpl


class Policy:
    @hookimpl
    def mail(self, sender, session=None):
        return None


server = Server(Stack(Policy()))
