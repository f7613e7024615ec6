# expect: 13: Policy stands in two Scores -> write its points in one of them
from mailstack import Score, Server, Stack, hookimpl


class Policy:
    @hookimpl
    def mail(self):
        return None


server = Server(
    Stack(
        Score(Stack(Score(Policy(), 5)), 5),
    ),
)
