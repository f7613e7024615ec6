# expect: parts/helper.py:2: expected ':'
from parts import helper

server = helper.server
