# expect: 10: Policy.mail has a hook's name but is not marked -> @hookimpl
from mailstack import Server, Stack, hookimpl


class Policy:
    @hookimpl
    def rcpt(self, recipient):
        recipient.accept()

    def mail(self, sender):
        return None


server = Server(Stack(Policy()))
