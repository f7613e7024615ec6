"""etrn: start the delivery of mail that waits for a site (ETRN, RFC 1985): `etrn.Etrn(command, domains)`.

    etrn.Etrn(["/usr/sbin/postqueue", "-s", "{domain}"], ["branch.example.org"])

A site that is not always connected asks with `ETRN branch.example.org` for what waits for it. The queue is that of
another program, which `command` tells to try again; no shell reads it, and "{domain}" stands for the site that is asked
for, always one of `domains`. The mail goes where it would go anyway, so that it does not matter who asks; put
`When(predicate.client_in(…), …)` around it against those who would ask too often.

Answers: 250 when the command has ended well, 458 when it has not or is not there, 459 for a domain that is not listed,
501 for what is no domain; 503 inside of a transaction. The forms with "@" and "#" are 501 too. A command that takes
longer than the phase's limit is ended, and the answer is 451.
"""

from collections.abc import Iterable, Sequence
from subprocess import DEVNULL

from anyio import run_process
from mailstack import Command, ConfigError, Reply, Session, hookimpl, log, option

__all__ = ["Etrn"]

STARTED = Reply(250, "the queue for this domain is being run")
FAILED = Reply(458, "the queue cannot be run now")
NOT_LISTED = Reply(459, "we have no queue for this domain")
SYNTAX = Reply(501, "write ETRN and a domain", status="5.5.4")
BUSY = Reply(503, "finish the transaction first", status="5.5.1")


class Etrn:
    """command -- the program and its arguments, "{domain}" in them for the domain that is asked for.
    domains -- those that may be asked for.

    ConfigError: an empty command, what is no domain.
    """

    name = "etrn"
    verbs = ("ETRN",)

    def __init__(self, command: Sequence[str], domains: Iterable[str]) -> None:
        if isinstance(command, str) or not command:
            raise ConfigError(f"Etrn(command): {command!r} is no command", remedy='write ["/usr/sbin/postqueue", …]')
        self.keywords = {"ETRN": ""}
        self.arguments = tuple(command)
        self.domains = frozenset(option.domain(each, name="Etrn(domains)") for each in domains)

    @hookimpl
    async def command(self, session: Session, command: Command) -> Reply | None:
        if command.verb != "ETRN":
            return None
        if session.transaction is not None:
            return BUSY
        try:
            domain = option.domain(command.argument)
        except ConfigError:
            return SYNTAX
        return await self._run(domain) if domain in self.domains else NOT_LISTED

    async def _run(self, domain: str) -> Reply:
        arguments = [each.replace("{domain}", domain) for each in self.arguments]
        try:
            done = await run_process(arguments, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL, check=False)
        except OSError as error:
            log.error("cannot run the queue", who=self.name, reason=str(error))
            return FAILED
        return STARTED if done.returncode == 0 else FAILED
