# expect: 6: Policy.rcpt: recipient is annotated str -> the contract says Recipient
from mailstack import Server, Stack, hookimpl


class Policy:
    @hookimpl
    def rcpt(self, recipient: str):
        recipient.accept()


server = Server(Stack(Policy()))
