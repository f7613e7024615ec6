# expect: 10: predicate trusted(sender) -> it takes session
from mailstack import Server, Stack, Unless
from mailstack.handlers import discard


def trusted(sender):
    return True


server = Server(Stack(Unless(trusted, discard.Discard())))
