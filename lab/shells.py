"""bash, zsh and fish, asked what they would complete: each by its own line editor or its own word.

A shell is one that an operator has: it loads a program's completion by the program's name from an
installation's `share` directory, and runs the programs in `programs`.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import termios
from pathlib import Path
from types import TracebackType
from typing import Self

from lab import room
from lab.wait import wait_for

# M-* inserts all that could be completed; C-x p prints the line (bash(1), READLINE)
BASH = """
PS1='ready> '
. /usr/share/bash-completion/bash_completion
bind 'set enable-bracketed-paste off'
bind '"\\C-xa": insert-completions'
bind -x '"\\C-xp": printf "%s\\n" "$READLINE_LINE" >"$ANSWER"'
"""
# C-x a inserts all that could be completed (zshcompsys(1), _all_matches); C-x p prints the line
ZSH = """
PS1='ready> '
fpath=($SHARE/zsh/vendor-completions $fpath)
autoload -Uz compinit && compinit -u -d $HOME/zcompdump
zstyle ':completion:all-matches::::' completer _all_matches _complete
zstyle ':completion:all-matches:*' insert true
zle -C all-matches complete-word _generic
bindkey '^Xa' all-matches
answer() { print -r -- "$BUFFER" >$ANSWER }
zle -N answer
bindkey '^Xp' answer
"""
INTERACTIVE = {
    "bash": ("bash", "--noprofile", "--rcfile", "{rc}", "-i"),
    "zsh": ("zsh", "-d", "-i"),
}


class Shell:
    """One of `bash`, `zsh` and `fish`; `said` is what it wrote on its terminal."""

    def __init__(self, name: str, share: Path, programs: Path) -> None:
        self.name = name
        self.said = ""
        self._home = room.scratch("shell-")
        self._answer = self._home / "answer"
        self._environment = {
            "HOME": str(self._home),
            "ANSWER": str(self._answer),
            "SHARE": str(share),
            "XDG_DATA_DIRS": f"{share}:/usr/share",
            "PATH": f"{programs}:{os.environ['PATH']}",
            "TERM": "vt100",
            "LC_ALL": "C.UTF-8",
        }
        self._process: subprocess.Popen[bytes] | None = None
        if name in INTERACTIVE:
            self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(10)
            os.close(self._terminal)
        shutil.rmtree(self._home)

    def complete(self, line: str) -> list[str]:
        """Return what the last word of LINE could become; nothing when it is that already."""
        if self._process is None:
            return self._ask_fish(line)
        before, _, word = line.rpartition(" ")
        words = self._type(line).removeprefix(before).split()
        return [] if words == [word] else words

    def _ask_fish(self, line: str) -> list[str]:
        done = subprocess.run(
            ["fish", "-c", 'complete -C "$argv"', line],
            env=self._environment,
            capture_output=True,
            text=True,
            check=True,
        )
        self.said += done.stderr
        return [found.partition("\t")[0] for found in done.stdout.splitlines()]

    def _start(self) -> None:
        rc = self._home / (".zshrc" if self.name == "zsh" else "bashrc")
        rc.write_text(ZSH if self.name == "zsh" else BASH)
        self._terminal, slave = os.openpty()
        os.set_blocking(self._terminal, False)

        def control() -> None:
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

        self._process = subprocess.Popen(
            [word.format(rc=rc) for word in INTERACTIVE[self.name]],
            env=self._environment,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=control,
        )
        os.close(slave)
        wait_for(lambda: "ready> " in self._listen(), f"{self.name}'s prompt", 60)

    def _type(self, line: str) -> str:
        """Type LINE, have it completed in every way, and return what the line is then."""
        self._answer.unlink(missing_ok=True)
        os.write(self._terminal, b"\x15" + line.encode() + b"\x18a\x18p")
        return wait_for(self._read_answer, f"what {self.name} makes of {line!r}", 60)[:-1]

    def _listen(self) -> str:
        with contextlib.suppress(BlockingIOError):
            self.said += os.read(self._terminal, 65536).decode("utf-8", "replace")
        return self.said

    def _read_answer(self) -> str:
        self._listen()
        with contextlib.suppress(FileNotFoundError):
            answer = self._answer.read_text()
            return answer if answer.endswith("\n") else ""
        return ""
