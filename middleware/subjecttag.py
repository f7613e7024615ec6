"""subjecttag: put a tag in front of each Subject that does not have it yet: `subjecttag.SubjectTag("[list]")`.

All other octets stay as the client sent them. A changed Subject breaks the DKIM signatures that cover it.
"""

from mailstack import option
from mailstack.contract.hookspec import hookimpl
from mailstack.session.message import Message

__all__ = ["SubjectTag"]


class SubjectTag:
    """tag -- printable text. ConfigError when it cannot stand in a header."""

    rehearsable = True

    def __init__(self, tag: str) -> None:
        self.tag = option.field_text(tag, name="SubjectTag")

    @hookimpl
    def message(self, message: Message) -> None:
        subject = next((part.decoded for part in message.header.parts if part.name.lower() == "subject"), "")
        if self.tag not in subject:
            message.put_in_front("Subject", self.tag)
