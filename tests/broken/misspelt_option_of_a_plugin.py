# expect: 6: unexpected keyword argument 'end_of_line' -> write Maildir(path, eol
from mailstack import Server, Stack
from mailstack.handlers import maildir

server = Server(
    Stack(maildir.Maildir("./var/mail", end_of_line="crlf")),
)
