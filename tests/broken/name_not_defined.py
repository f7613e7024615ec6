# expect: 4: name 'Stack' is not defined -> import the name
from mailstack import Server

server = Server(Stack())
