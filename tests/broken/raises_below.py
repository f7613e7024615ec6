# expect: 5: FileNotFoundError: -> make the file, or correct its path
from mailstack import Server, Stack

def domains():
    with open("there-is-no-such-file") as file:
        return file.read().split()

server = Server(Stack(domains()))
