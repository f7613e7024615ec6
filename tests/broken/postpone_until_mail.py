# expect: 11: Postpone(until): at mail nobody knows whether the mail is for postmaster -> write "rcpt" or "data"
from mailstack import Postpone, Server, Stack, hookimpl


class Policy:
    @hookimpl
    def connect(self):
        return None


server = Server(Stack(Postpone(Policy(), until="mail")))
