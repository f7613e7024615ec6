# expect: 12: recipient_in(example.org) can be asked only in rcpt, but Policy listens in message -> does not need the recipient
from mailstack import Server, Stack, Unless, hookimpl, predicate


class Policy:
    @hookimpl
    def message(self, message):
        return None


server = Server(
    Stack(Unless(predicate.recipient_in("example.org"), Policy())),
)
