# expect: 6: KeyError: 'MAIL_DOMAIN'
import os

from mailstack import Server, Stack

domain = os.environ["MAIL_DOMAIN"]
server = Server(Stack())
