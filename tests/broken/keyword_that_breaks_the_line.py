# expect: 9: Loud: its argument of XLOUD is nothing that SMTP has words for -> printable ASCII
from mailstack import Server, Stack


class Loud:
    keywords = {"XLOUD": "yes\r\n250 AUTH PLAIN"}


server = Server(Stack(Loud()))
