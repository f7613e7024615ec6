# expect: 4: there is no plugin 'maildri' -> did you mean maildir?
from mailstack import Server, Stack, plugin

server = Server(Stack(plugin("maildri").Maildir("./var/mail")))
