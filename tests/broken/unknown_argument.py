# expect: 6: Policy.rcpt: there is no argument 'sender' -> it may take: session, recipient, call_next
from mailstack import Server, Stack, hookimpl


class Policy:
    @hookimpl
    def rcpt(self, recipient, sender):
        recipient.accept()


server = Server(Stack(Policy()))
