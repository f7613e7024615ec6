# expect: 5: has no attribute 'Domain' -> did you mean Domains?
from mailstack import Server, Stack
from mailstack.middleware import recipients

server = Server(Stack(recipients.Domain("example.org")))
