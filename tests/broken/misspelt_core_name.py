# expect: 2: cannot import name 'Sevrer' -> did you mean Server
from mailstack import Sevrer, Stack

server = Sevrer(Stack())
