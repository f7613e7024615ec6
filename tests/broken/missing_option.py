# expect: 5: Maildir.__init__() missing 1 required positional argument: 'path' -> write Maildir(path, eol
from mailstack import Server, Stack
from mailstack.handlers import maildir

server = Server(Stack(maildir.Maildir()))
