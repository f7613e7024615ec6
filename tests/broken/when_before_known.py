# expect: 13: Policy listens in connect, but authenticated is known only from auth on -> Unless with the opposite
from mailstack import Server, Stack, When, hookimpl, predicate


class Policy:
    @hookimpl
    def connect(self, session):
        return None


server = Server(
    Stack(
        When(predicate.authenticated, Policy()),
    ),
)
