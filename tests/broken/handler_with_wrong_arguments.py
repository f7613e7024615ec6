# expect: 5: store(session, body) cannot be a handler -> a handler takes message
from mailstack import Server, Stack


def store(session, body):
    return None


server = Server(Stack(store))
