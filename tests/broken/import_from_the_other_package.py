# expect: 3: cannot import name 'maildir' -> maildir is in mailstack.handlers
from mailstack import Server, Stack
from mailstack.middleware import maildir

server = Server(Stack(maildir.Maildir("./var/mail")))
