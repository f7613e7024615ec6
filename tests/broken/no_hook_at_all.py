# expect: 9: Policy implements no hook -> @hookimpl
from mailstack import Server, Stack


class Policy:
    pass


server = Server(Stack(Policy()))
