# expect: 3: cannot import name 'recipeints' -> did you mean recipients
from mailstack import Server, Stack
from mailstack.middleware import recipeints

server = Server(Stack(recipeints.Domains("example.org")))
