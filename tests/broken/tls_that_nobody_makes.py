# expect: 6: the listener 127.0.0.1:4650 has tls=…, and no entry of the stack sees to it -> put tls.TLS(
from mailstack import Listener, Server, Stack
from mailstack.handlers import discard
from mailstack.middleware import recipients

server = Server(
    Stack(recipients.Domains("example.org"), discard.Discard()),
    listeners=[Listener("127.0.0.1:2525"), Listener("127.0.0.1:4650", tls=True)],
)
