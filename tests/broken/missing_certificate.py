# expect: 6: TLS.__init__() missing 1 required positional argument: 'certificate' -> write TLS(certificate, key
from mailstack import Server, Stack
from mailstack.handlers import forward
from mailstack.middleware import tls

server = Server(Stack(tls.TLS(), forward.Forward("127.0.0.1:25")))
