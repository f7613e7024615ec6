# expect: 3: No module named 'mailstack.handlers.maildri' -> did you mean maildir?
from mailstack import Server, Stack
import mailstack.handlers.maildri

server = Server(Stack(mailstack.handlers.maildri.Maildir("./var/mail")))
