"""A message as it arrived: what is read from its octets."""

from email.message import EmailMessage

from mailstack import Session, hookimpl
from mailstack.testing import Delivery, Dialog, Vouch


def arrived(content: bytes) -> Delivery:
    return Delivery("a@example.org", ["b@example.org"], content, "1")


def test_subject_and_text_are_decoded() -> None:
    mail = arrived(
        b"Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\nContent-Type: text/plain; charset=iso-8859-1\r\n"
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\nJ=FCrgen,\r\nhello\r\n"
    )
    assert (mail.subject, mail.text, mail.html, mail.attachments) == ("grüße", "Jürgen,\nhello\n", "", [])


def test_alternatives_and_attachments_are_told_apart() -> None:
    made = EmailMessage()
    made["Subject"] = "invoice"
    made.set_content("plain\n")
    made.add_alternative("<p>rich</p>\n", subtype="html")
    made.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="17.pdf")
    mail = arrived(made.as_bytes())
    assert (mail.text, mail.html) == ("plain\n", "<p>rich</p>\n")
    [attachment] = mail.attachments
    assert (attachment.get_filename(), attachment.get_content()) == ("17.pdf", b"%PDF")
    assert mail.email["Subject"] == "invoice"


def test_a_message_without_any_of_it_has_none() -> None:
    assert (arrived(b"").subject, arrived(b"").html, arrived(b"").attachments) == ("", "", [])
    assert arrived(b"Content-Type: text/html\r\n\r\n<p>\r\n").text == ""


async def test_the_facts_of_the_session_come_with_it() -> None:
    class Login:
        @hookimpl
        def mail(self, session: Session) -> None:
            session.user, session.secure = "ann", True

    async with Dialog(Login(), Vouch(), client="192.0.2.7") as smtp:
        await smtp.say("EHLO laptop.example.org")
        await smtp.say("MAIL FROM:<a@example.org> SIZE=10 BODY=8BITMIME")
        await smtp.say("RCPT TO:<b@example.org>")
        await smtp.say("DATA")
        await smtp.send(b".\r\n")
        assert await smtp.reply() == 250
        [mail] = smtp.messages
    assert (mail.helo, mail.user, mail.secure, mail.client) == ("laptop.example.org", "ann", True, "192.0.2.7")
    assert mail.parameters == {"SIZE": 10, "BODY": "8BITMIME"}
