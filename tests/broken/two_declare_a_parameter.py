# expect: 17: Two declares the MAIL parameter XHUE, and so does One ( -> take one of the two out
from mailstack import Parameter, Server, Stack


class One:
    keywords = {"XHUE": ""}
    parameters = (Parameter("XHUE", "MAIL", "XHUE", str),)


class Two:
    keywords = {"XHUE": ""}
    parameters = (Parameter("XHUE", "MAIL", "XHUE", str),)


server = Server(Stack(
    One(),
    Two(),
))
