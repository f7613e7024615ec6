# expect: 7: './var/mail' is not a plugin -> an object with hooks
from mailstack import Server, Stack
from mailstack.middleware import recipients

server = Server(Stack(
    recipients.Domains("example.org"),
    "./var/mail",
))
