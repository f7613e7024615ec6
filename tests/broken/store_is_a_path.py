# expect: 5: Greylist(store): '/var/lib/grey.db' is no store -> write store=SQLite(
from mailstack import Server, Stack
from mailstack.middleware import greylist

server = Server(Stack(greylist.Greylist(store="/var/lib/grey.db")))
