"""Transcripts: what a file may say, and how a mismatch is shown."""

from pathlib import Path

import pytest

from mailstack import Limits
from mailstack.testing import Dialog, Vouch
from mailstack.testing.transcript import TranscriptError, play, read

DELIVERY = """
S: 220 *
C: HELO me
C: MAIL FROM:<a@example.org>
C: RCPT TO:<b@example.org>
C: DATA
S: 250 *
S: 250 *
S: 250 *
S: 354 *
C! A: b\\r\\n\\r\\n{ab*3}\\\\\\x41\\r\\n.\\r\\n
S: 250 *
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "case.smtp"
    path.write_text(text, "utf-8")
    return path


async def played(folder: Path, text: str) -> None:
    async with Dialog(Vouch()) as smtp:
        await play(written(folder, text), smtp)


def test_directives_are_read_and_the_known_ones_are_options_of_a_dialog(tmp_path: Path) -> None:
    script = read(
        written(
            tmp_path,
            "# why\nstack: vouch\nclient: 2001:db8::1\nlimits: errors=3\nnormalise: yes\nrehearsal: no\n\nS: 220 *\n",
        )
    )
    assert script.directives["stack"] == "vouch"
    assert script.options == {
        "client": "2001:db8::1",
        "limits": Limits(errors=3, sweep=0.05),
        "normalise": True,
        "rehearsal": False,
    }


@pytest.mark.parametrize("text", ["S: 220 *\nX: what\n", "S: 220 *\nstack: late\n", "hello\n"])
def test_a_line_that_is_no_line_of_a_transcript_is_named(text: str, tmp_path: Path) -> None:
    with pytest.raises(TranscriptError, match=r"case\.smtp:[12]: this is no line"):
        read(written(tmp_path, text))


async def test_a_delivery_is_compared_by_envelope_and_end(tmp_path: Path) -> None:
    await played(
        tmp_path,
        DELIVERY
        + "D: a@example.org -> b@example.org\nD! A: b\\r\\n\\r\\nababab\\\\A\\r\\nD: none\n".replace(
            "\\r\\nD:", "\\r\\n\nD:"
        ),
    )


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("D: a@example.org -> c@example.org", r"another delivery\n- D: .*c@example.org\n\+ D: .*b@example.org"),
        ("D: none", "another delivery"),
        ("D: a@example.org -> b@example.org\nD! nothing", "another content"),
    ],
)
async def test_another_delivery_is_shown(line: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=rf"case\.smtp:13: {problem}"):
        await played(tmp_path, DELIVERY + line + "\n")


@pytest.mark.parametrize(
    ("pattern", "holds"),
    [
        ("S: 250 *", True),
        ("S: 250-*\nS: 250 HELP", True),
        ("S: 250-mx.test\nS: 250-*\nS: 250 HELP", True),
        ("S: 250-mx.test\nS: 250-*\nS: 250-SIZE *\nS: 250-*\nS: 250 *", True),
        ("S: 250-mx.t*st\nS: 250 *", True),
        ("S: 250 mx.test", False),
        ("S: 250-mx.test\nS: 250 HELP", False),
        ("S: 250-mx.test\nS: 250-*\nS: 250 HELPED", False),
        ("S: 251 *", False),
        ("S: 250-mx.test\nS: 251 *", False),
        ("S: 250-mx\nS: 250 *", False),
    ],
)
async def test_a_star_is_any_text_and_alone_any_lines(pattern: str, holds: bool, tmp_path: Path) -> None:
    text = f"S: 220 *\nC: EHLO me\n{pattern}\nC: QUIT\nS: 221 *\nS: (closed)\n"
    if holds:
        await played(tmp_path, text)
        return
    with pytest.raises(
        AssertionError, match=r"case\.smtp:3: the server said otherwise\n- S: 25(.|\n)*\+ S: 250-mx\.test"
    ):
        await played(tmp_path, text)


async def test_a_server_that_stays_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"case\.smtp:3: the server said more"):
        await played(tmp_path, "S: 220 *\nC: QUIT\nS: (closed)\n")


async def test_a_client_may_hang_up(tmp_path: Path) -> None:
    await played(tmp_path, "S: 220 *\nC: NOOP\nC: (hangs up)\nD: none\n")
