"""The DNS, for all: one resolver with cache, limits and honest errors.

    answer = await session.resolver.mx("example.org")       # within the session's budget
    answer = await Resolver("127.0.0.1:5353").txt("example.org")

It says the same on asyncio, uvloop and trio, for it waits on plain sockets through anyio; dnspython reads and writes
the messages. Bottom up: `name` what can be asked, `message` octets to values, `exchange` one question to one server,
`servers` and `network` whom to ask how often, `cache` and `shared` what is known or on its way, `resolver` the
questions, `reverse` the name of an address. Values and errors are in `session.lookup`, budgets in `session.budget`.
"""

from ...session.budget import Budget
from ...session.lookup import (
    MX,
    Answer,
    DNSBudget,
    DNSError,
    Lookups,
    NoRecords,
    NoSuchName,
    NotFound,
    ReverseName,
    Temporary,
)
from .cache import Keep
from .network import Network
from .resolver import Resolver
from .reverse import reverse_name
from .shared import Source
from .statistics import Statistics

__all__ = [
    "MX",
    "Answer",
    "Budget",
    "DNSBudget",
    "DNSError",
    "Keep",
    "Lookups",
    "Network",
    "NoRecords",
    "NoSuchName",
    "NotFound",
    "Resolver",
    "ReverseName",
    "Source",
    "Statistics",
    "Temporary",
    "reverse_name",
]
