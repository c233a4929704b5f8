"""A command in the guest: started as the app itself is, with pipes or a terminal, ended with all of its session."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import struct
import termios

from eaves.node.vms.isolation.guest.frames import ERRORS, HAS_INPUT, IS_TERMINAL, OUTPUT, parse_order

_FAILED_CODE = 127
_SIGNALS = (
    *(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM),
    *(signal.SIGPIPE, signal.SIGXFSZ, signal.SIGIO, signal.SIGCHLD),
)
_WHY = {errno.ENOENT: "executable file not found in $PATH", errno.EACCES: "permission denied"}


class Identity:
    """Who and where commands are: ``env`` as NAME=VALUE."""

    def __init__(self, uid: int, gid: int, folder: bytes, env: list[bytes]) -> None:
        self.uid = uid
        self.gid = gid
        self.folder = folder
        self.env = env

    @classmethod
    def load(cls, path: str) -> Identity:
        """From the file that :func:`eaves.node.vms.isolation.orders.render_identity` makes. Raises OSError, ValueError."""
        with open(path, "rb") as file:
            uid, gid, folder, *env = file.read().split(b"\0")
        return cls(int(uid), int(gid), folder, env)


class Command:
    """One that runs. Its descriptors do not block; ``input`` is -1 when there is none.

    ``outputs``: descriptor → kind of frame. ``status`` tells why nothing could be run, and ends when something does.
    """

    def __init__(self, identity: Identity, order: bytes) -> None:
        """Raises OSError, ValueError."""
        argv, flags, columns, rows = parse_order(order)
        self.input = -1
        self.outputs: dict[int, int] = {}
        self.terminal = -1
        self._near: list[int] = []
        far = self._open_terminal(identity, columns, rows) if flags & IS_TERMINAL else self._open_pipes()
        self.status, told = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            _become(argv, identity, far, told, is_terminal=self.terminal >= 0)
        for number in {*far, told}:
            os.close(number)
        if flags & HAS_INPUT:
            self.input = self._near[0]
        elif self.terminal < 0:
            os.close(self._near[0])
        for number in {self.status, *self.outputs, *((self.input,) if self.input >= 0 else ())}:
            os.set_blocking(number, False)

    def resize(self, columns: int, rows: int) -> None:
        if self.terminal >= 0:
            fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def close_input(self) -> None:
        if self.input >= 0 and self.input != self.terminal:
            os.close(self.input)
        self.input = -1

    def close_output(self, number: int) -> None:
        """It has ended. A terminal stays until the command has: closing it would kill one that is about to end by itself."""
        del self.outputs[number]
        if number == self.terminal:
            self.input = -1
        else:
            os.close(number)

    def close_status(self) -> None:
        if self.status >= 0:
            os.close(self.status)
            self.status = -1

    def close(self) -> None:
        """All descriptors; whoever has the terminal open is hung up."""
        self.close_input()
        self.close_status()
        for number in list(self.outputs):
            self.close_output(number)
        if self.terminal >= 0:
            os.close(self.terminal)
            self.terminal = -1

    def send_signal(self, number: int) -> None:
        """To the command and all that it started in its session."""
        for pid in self._list_processes():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def has_processes(self) -> bool:
        """Whether anything of its session is left; one that has ended counts until somebody asks for its end."""
        return bool(self._list_processes())

    def _list_processes(self) -> list[int]:
        return [int(name) for name in os.listdir("/proc") if name.isdecimal() and _load_session(name) == self.pid]

    def _open_pipes(self) -> list[int]:
        (read, write), (out, out_far), (errors, errors_far) = os.pipe(), os.pipe(), os.pipe()
        self.outputs = {out: OUTPUT, errors: ERRORS}
        self._near = [write]
        return [read, out_far, errors_far]

    def _open_terminal(self, identity: Identity, columns: int, rows: int) -> list[int]:
        self.terminal, far = os.openpty()
        if os.getuid() == 0:
            os.fchown(far, identity.uid, identity.gid)
        self.outputs = {self.terminal: OUTPUT}
        self._near = [self.terminal]
        self.resize(columns, rows)
        return [far, far, far]


def _become(argv: list[bytes], identity: Identity, streams: list[int], told: int, *, is_terminal: bool) -> None:
    """In the child: turn into the command, or say why not."""
    try:
        os.setsid()
        if is_terminal:
            fcntl.ioctl(streams[0], termios.TIOCSCTTY, 0)
        for number, source in enumerate(streams):
            os.dup2(source, number)
        # Python ignores some of what programs expect to end them, and a shell more of it for what it starts in the background.
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        if os.getuid() == 0:
            os.setgroups([identity.gid])
            os.setgid(identity.gid)
            os.setuid(identity.uid)
        os.chdir(identity.folder)
        _execute(argv, _want_env(identity.env, is_terminal=is_terminal))
    except OSError as error:
        why = _WHY.get(error.errno or 0) or os.strerror(error.errno or 0)
        os.write(told, b'exec: "%s": %s' % (argv[0], why.encode()))
    finally:
        os._exit(_FAILED_CODE)


def _execute(argv: list[bytes], env: dict[bytes, bytes]) -> None:
    """As execvpe, which imports modules that are not there any more once the root is the app's. Raises OSError."""
    folders = [b""] if b"/" in argv[0] else [folder + b"/" for folder in env.get(b"PATH", b"").split(b":")]
    failure = OSError(errno.ENOENT, "")
    for folder in folders:
        try:
            os.execve(folder + argv[0], argv, env)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                failure = error
    raise failure


def _want_env(env: list[bytes], *, is_terminal: bool) -> dict[bytes, bytes]:
    named = dict(text.partition(b"=")[::2] for text in env)
    return named | {b"TERM": b"xterm"} if is_terminal else named


def _load_session(name: str) -> int:
    """Session of a process, proc(5); 0 for one that has gone."""
    try:
        with open(f"/proc/{name}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[3])
    except OSError:
        return 0
