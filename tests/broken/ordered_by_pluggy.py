# expect: 6: Policy.mail: @hookimpl takes no options -> the order is the stack's
from mailstack import Server, Stack, hookimpl


class Policy:
    @hookimpl(tryfirst=True)
    def mail(self, sender):
        return None


server = Server(Stack(Policy()))
