"""A stack in rehearsal: who is asked, who is not, and what the evidence says of each."""

from anyio.lowlevel import checkpoint

from mailstack import CallNext, Limit, Message, Recipient, Reply, Sender, Server, Session, Stack, When, hookimpl
from mailstack.contract.hookspec import LiveOn
from mailstack.contract.pipeline import build
from mailstack.session.evidence import Finding
from mailstack.testing import Collect, Dialog, Vouch
from mailstack.wire.address import Address


class Everywhere:
    """Not rehearsable; notes each hook that is called."""

    name = "everywhere"

    def __init__(self) -> None:
        self.called: list[str] = []

    @hookimpl
    async def lifespan(self, call_next: LiveOn) -> None:
        self.called.append("lifespan")
        await call_next()

    @hookimpl
    async def session(self, call_next: LiveOn) -> None:
        self.called.append("session")
        await call_next()

    @hookimpl
    def connect(self) -> None:
        self.called.append("connect")

    @hookimpl
    async def rcpt(self, call_next: CallNext) -> Reply:
        self.called.append("rcpt")
        return await call_next()

    @hookimpl
    async def queue(self) -> Reply:
        self.called.append("queue")
        return Reply(250)

    @hookimpl
    def reset(self) -> None:
        self.called.append("reset")

    @hookimpl
    async def disconnect(self) -> None:
        self.called.append("disconnect")


def found(smtp: object, phase: str) -> list[tuple[str, str, str]]:
    evidence: list[Finding] = list(smtp.evidence)  # type: ignore[attr-defined]
    return [(each.who, each.outcome, each.detail) for each in evidence if each.phase == phase]


async def test_an_entry_that_is_not_rehearsable_is_not_asked_anywhere() -> None:
    entry = Everywhere()
    async with Dialog(Limit(entry, timeout="5s"), Vouch(), rehearsal=True, handler=None) as smtp:
        answer = await smtp.message("a@example.org", "b@example.org")
        assert (answer.code, answer.text.rpartition(" ")[0]) == (250, "would have been queued as")
        assert found(smtp, "connect") == [("everywhere", "not asked", "")]
        assert found(smtp, "rcpt")[0] == ("everywhere", "not asked", "")
        assert found(smtp, "queue") == [("everywhere", "not asked", "")]
    assert entry.called == []
    [left_out] = smtp.dialog.server.check().not_asked
    assert (left_out.name, list(left_out.impls)) == (
        "everywhere",
        ["lifespan", "session", "connect", "rcpt", "queue", "reset", "disconnect"],
    )
    async with Dialog(entry, Vouch()) as smtp:
        await smtp.message("a@example.org", "b@example.org")
    assert entry.called == ["lifespan", "session", "connect", "rcpt", "queue", "reset", "disconnect"]


def test_only_true_is_a_promise() -> None:
    entry = Everywhere()
    entry.rehearsable = "no"  # type: ignore[attr-defined]
    assert len(build(Stack(entry), rehearsal=True).not_asked) == 1
    assert not build(Stack(entry)).not_asked


class Says:
    rehearsable = True

    def __init__(self, name: str, reply: Reply | None = None) -> None:
        self.name, self.reply = name, reply

    @hookimpl
    def mail(self, sender: Sender) -> Reply | None:
        return self.reply


class Rewrites:
    name = "rewrites"
    rehearsable = True

    @hookimpl
    async def rcpt(self, recipient: Recipient) -> None:
        await checkpoint()
        recipient.rewrite(Address.parse("c@example.org"))
        recipient.accept()


class Around:
    name = "around"
    rehearsable = True

    @hookimpl
    async def rcpt(self, session: Session, call_next: CallNext) -> Reply:
        session.note("around", "rcpt", "before")
        return await call_next()

    @hookimpl
    async def message(self, message: Message, call_next: CallNext) -> Reply:
        message.add_header("X-Before", "1")
        reply = await call_next()
        message.add_header("X-After", "1")
        return reply

    @hookimpl
    async def queue(self, call_next: CallNext) -> Reply:
        await call_next()
        return Reply(452)


async def test_who_is_asked_is_on_record_with_what_it_changed() -> None:
    async with Dialog(Says("first"), Says("second", Reply(250)), Around(), Rewrites(), rehearsal=True) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 452
        assert found(smtp, "mail") == [("first", "no opinion", ""), ("second", "asked", ""), ("second", "accepted", "")]
        assert found(smtp, "rcpt") == [
            ("around", "noted", "before"),
            ("rewrites", "no opinion", "rewrote the recipient to <c@example.org>; vouched for <c@example.org>"),
            ("around", "no opinion", ""),
        ]
        assert found(smtp, "message") == [("around", "no opinion", "added X-Before; added X-After")]
        assert found(smtp, "queue")[-2:] == [("around", "asked", ""), ("around", "refused", "")]


async def test_a_stack_that_serves_keeps_no_such_record() -> None:
    async with Dialog(Says("first"), Rewrites()) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 250
        assert {each.who for each in smtp.evidence} == {"collect"}


class Fails:
    name = "fails"
    rehearsable = True

    @hookimpl
    def mail(self, session: Session) -> None:
        raise KeyError("x")

    @hookimpl
    async def rcpt(self, recipient: Recipient) -> None:
        recipient.accept()
        raise KeyError("x")

    @hookimpl
    async def message(self, call_next: CallNext) -> Reply:
        raise KeyError("x")


async def test_a_fault_is_on_record_too() -> None:
    async with Dialog(Limit(Fails(), on_fault="pass"), Collect(), rehearsal=True) as smtp:
        assert await smtp.message("a@example.org", "b@example.org") == 250
        for phase in ("mail", "rcpt", "message"):
            asked, fault = found(smtp, phase)
            assert asked[:2] == ("fails", "asked")
            assert fault == ("fails", "fault", "KeyError: 'x'")


def handler(message: Message) -> None:
    raise AssertionError("a rehearsal stops before the handler")


async def test_without_a_handler_in_its_way_a_message_is_refused_as_it_would_be() -> None:
    nobody = When(lambda session: False, handler)
    for end, code in ((handler, 250), (nobody, 451), (None, 451)):
        async with Dialog(Vouch(), handler=end, rehearsal=True) as smtp:
            assert await smtp.message("a@example.org", "b@example.org") == code


def test_a_copy_for_rehearsal_leaves_the_server_as_it_is() -> None:
    server = Server(Stack(Vouch(), handler))
    twin = server.in_memory(rehearsal=True)
    assert (twin.rehearsal, twin.listeners, [entry.name for entry in twin.check().not_asked]) == (True, [], ["handler"])
    assert (server.rehearsal, len(server.listeners), server.check().not_asked) == (False, 1, ())
