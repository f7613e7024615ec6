# expect: 5: known('recipient'): there is no such phase -> one of session, connect
from mailstack import Server, Stack, known


@known("recipient")
def trusted(session):
    return True


server = Server(Stack())
