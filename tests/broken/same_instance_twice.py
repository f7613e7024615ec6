# expect: 10: discard#2: the same object stands twice in the stack -> second instance
from mailstack import Server, Stack, Unless, predicate
from mailstack.handlers import discard

sink = discard.Discard()
server = Server(
    Stack(
        sink,
        Unless(predicate.authenticated,
               sink),
    ),
)
