# expect: 5: SystemExit: -> must not exit
import sys
from mailstack import Server, Stack

sys.exit("not today")
