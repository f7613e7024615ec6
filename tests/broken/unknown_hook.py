# expect: 6: Policy.rctp: there is no hook 'rctp' -> did you mean rcpt?
from mailstack import Server, Stack, hookimpl


class Policy:
    @hookimpl
    def rctp(self, recipient):
        recipient.accept()


server = Server(Stack(Policy()))
