# expect: 6: the listener edge has proxy=…, and no entry of the stack sees to it -> put proxy.
from mailstack import Listener, Server, Stack
from mailstack.handlers import discard
from mailstack.middleware import recipients

server = Server(
    Stack(recipients.Domains("example.org"), discard.Discard()),
    listeners=[Listener("127.0.0.1:2525", name="edge", proxy="127.0.0.1")],
)
