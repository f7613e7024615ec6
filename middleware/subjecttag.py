"""subjecttag: put a tag in front of each Subject that does not have it yet: `subjecttag.SubjectTag("[list]")`.

All other octets stay as the client sent them. A changed Subject breaks the DKIM signatures that cover it.
"""

from mailstack.contract.hookspec import hookimpl
from mailstack.session.message import Message
from mailstack.wire.header import Header, format_field

__all__ = ["SubjectTag"]


class SubjectTag:
    """tag -- printable text. ValueError when it cannot stand in a header."""

    rehearsable = True

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.field = format_field("Subject", tag)

    @hookimpl
    def message(self, message: Message) -> None:
        old = next((part for part in message.header.parts if part.name.lower() == "subject"), None)
        if old is None:
            message.append_header("Subject", self.tag)
        elif self.tag not in old.decoded:
            new = self.field.rstrip() + b" " + old.raw.partition(b":")[2].lstrip(b" \t")
            raw = b"".join(new if part is old else part.raw for part in message.header.parts)
            message.set_header(Header(raw), "tagged the Subject")
