"""A modem with AT commands, for tests: a SIM card, a mobile network, and behind it a real PPP peer.

It answers as 3GPP TS 27.007 has it, on serial lines that the machine under test sees the other ends of: one for data, and one that
goes on answering while the first carries data, as real ones have.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from enum import IntEnum
from pathlib import Path

from eaves.testing.namespaces import Namespace

IMEI = "490154203237518"
PLMN, OPERATOR = "00101", "Test Mobile"
MANUFACTURER, MODEL, REVISION = "Eaves", "Virtual LTE", "1.0"
RSRP_DBM, RSRQ_DB = -81.0, -10.0
_LTE = 7
_PPP = """
mount -t tmpfs tmpfs /etc/ppp
umask 077
touch /etc/ppp/options
cp {secrets} /etc/ppp/chap-secrets
cp {secrets} /etc/ppp/pap-secrets
exec pppd notty nodetach debug logfd 2 local nodefaultroute noproxyarp {auth} {subnet}.1:{subnet}.2 ms-dns {subnet}.1
"""
_NOT_INSERTED, _PIN_REQUIRED, _PUK_REQUIRED, _INCORRECT = 10, 11, 12, 16
"""``+CME ERROR``."""


Line = Path | socket.socket
"""A character device, or a socket that listens."""


class Registration(IntEnum):
    """As ``+CEREG`` tells it."""

    SEARCHING = 2
    HOME = 1
    DENIED = 3
    ROAMING = 5


class Sim:
    """Empty ``pin`` = it asks for none."""

    imsi, iccid = "001010123456789", "8988211000000000013"

    def __init__(self, pin: str = "") -> None:
        self.pin = pin
        self.is_open = not pin
        self.tries_left = 3
        self.tried: list[str] = []
        """Every PIN that was entered."""

    @property
    def state(self) -> str:
        if self.is_open:
            return "READY"
        return "SIM PIN" if self.tries_left else "SIM PUK"

    def enter(self, pin: str) -> bool:
        self.tried.append(pin)
        if self.tries_left:
            self.is_open = pin == self.pin
            self.tries_left = 3 if self.is_open else self.tries_left - 1
        return self.is_open


class Modem:
    """``lines``: its serial lines, data first. ``network`` is the operator's machine. A context manager.

    ``apns``: those that lead anywhere. ``users``: name → password; none = everybody may in.
    """

    def __init__(
        self,
        lines: Sequence[Line],
        subnet: str,
        *,
        sim: Sim | None = None,
        registration: Registration = Registration.HOME,
        apns: Sequence[str] = (),
        users: dict[str, str] | None = None,
    ) -> None:
        self.sim = sim
        self.registration = registration
        self.network = Namespace()
        self.said: list[str] = []
        """Commands that it got."""
        self.calls = 0
        """That were put through."""
        self._subnet = subnet
        self._apns = tuple(apns)
        self._users = users or {}
        self._contexts: dict[str, str] = {}
        self._lock = threading.Lock()
        self._folder = tempfile.TemporaryDirectory(prefix="eaves-modem.")
        self._end, self._ended = os.pipe()
        self._call: subprocess.Popen[bytes] | None = None
        self._threads = [threading.Thread(target=self._serve, args=(line,), name=f"modem {line}") for line in lines]

    def __enter__(self) -> Modem:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.write(self._ended, b"end")
        self.hang_up()
        for thread in self._threads:
            thread.join()
        os.close(self._end)
        os.close(self._ended)
        self.network.close()
        self._folder.cleanup()

    def hang_up(self) -> None:
        """End the call, as a network does."""
        call = self._call
        if call is not None:
            call.terminate()

    def _serve(self, line: Line) -> None:
        """Until the end; a socket serves one caller after the other."""
        if isinstance(line, Path):
            fd = os.open(line, os.O_RDWR | os.O_NOCTTY)
            try:
                self._talk(fd)
            finally:
                os.close(fd)
            return
        while self._is_ready(line.fileno()):
            caller, _ = line.accept()
            # Whoever called may go in the middle of anything.
            with caller, contextlib.suppress(ConnectionError):
                self._talk(caller.fileno())

    def _is_ready(self, fd: int) -> bool:
        """Wait; False at the end."""
        ready, _, _ = select.select([fd, self._end], [], [])
        return self._end not in ready

    def _talk(self, fd: int) -> None:
        gathered = b""
        while self._is_ready(fd):
            heard = os.read(fd, 4096)
            if not heard:
                return
            *commands, gathered = re.split(rb"[\r\n]+", gathered + heard)
            for command in commands:
                self._obey(fd, command)

    def _obey(self, fd: int, line: bytes) -> None:
        text = line.decode(errors="replace")
        _, mark, command = text.upper().partition("AT")
        if not mark:
            return
        # What is in quotes keeps its letters.
        command = text[len(text) - len(command) :]
        with self._lock:
            self.said.append(command)
            answer = "\r\n".join(self._answer_all(command))
        os.write(fd, f"\r\n{answer}\r\n".encode())
        if answer.endswith("CONNECT"):
            self._carry(fd)

    def _answer_all(self, line: str) -> Iterator[str]:
        for command in line.split(";"):
            try:
                answer, result = self._answer(command)
            except _RefusalError as refusal:
                yield str(refusal)
                return
            if answer:
                yield f"{answer}\r\n"
            if result != "OK":
                yield result
                return
        yield "OK"

    def _answer(self, command: str) -> tuple[str, str]:
        """What it tells, and the result. Raises _RefusalError."""
        if re.match(r"D\*99", command):
            return "", self._dial(command)
        name, mark, value = re.match(r"([^=?]*)([=?]*)(.*)", command).groups()  # type: ignore[union-attr]
        name = name.upper()
        fixed = {
            "+GCAP": "+GCAP: +CGSM",
            "+CGMI": MANUFACTURER,
            "+CGMM": MODEL,
            "+CGMR": REVISION,
            "+CGSN": IMEI,
            "+CSQ": "+CSQ: 20,99",
            "+CESQ": "+CESQ: 99,99,255,255,20,60",
            "+CFUN": "+CFUN: 1" if mark == "?" else "",
            "+CGATT": "+CGATT: 1" if mark == "?" else "",
            "+CMEE": "",
        }
        if name in fixed:
            return fixed[name], "OK"
        if name in ("+CREG", "+CGREG", "+CEREG"):
            return self._answer_registration(name, mark), "OK"
        answers = {
            "+CPIN": self._answer_pin,
            "+CIMI": self._answer_imsi,
            "+CRSM": self._answer_file,
            "+CSIM": self._answer_tries,
            "+COPS": self._answer_operator,
            "+CGDCONT": self._answer_contexts,
            "+CGACT": self._answer_active,
        }
        if name in answers:
            return answers[name](mark, value), "OK"
        if name.startswith(("+", "^", "*", "$", "%", "#")):
            raise _RefusalError("ERROR")
        return "", "OK"

    def _want_sim(self) -> Sim:
        if self.sim is None:
            raise _RefusalError(f"+CME ERROR: {_NOT_INSERTED}")
        return self.sim

    def _want_open_sim(self) -> Sim:
        sim = self._want_sim()
        if not sim.is_open:
            raise _RefusalError(f"+CME ERROR: {_PIN_REQUIRED if sim.tries_left else _PUK_REQUIRED}")
        return sim

    def _answer_pin(self, mark: str, value: str) -> str:
        sim = self._want_sim()
        if mark == "?":
            return f"+CPIN: {sim.state}"
        if not sim.enter(value.strip('"')):
            raise _RefusalError(f"+CME ERROR: {_INCORRECT if sim.tries_left else _PUK_REQUIRED}")
        return ""

    def _answer_imsi(self, _: str, __: str) -> str:
        return self._want_open_sim().imsi

    def _answer_file(self, _: str, value: str) -> str:
        """Files of the card: its number, and how long the operator's part of the IMSI is."""
        sim = self._want_sim()
        number = value.split(",")[1]
        if number == "12258":
            digits = sim.iccid.ljust(20, "F")
            swapped = "".join(digits[at + 1] + digits[at] for at in range(0, 20, 2))
            return f'+CRSM: 144,0,"{swapped}"'
        if number == "28589":
            return '+CRSM: 144,0,"00000002"'
        return '+CRSM: 106,130,""'

    def _answer_tries(self, _: str, value: str) -> str:
        if ',"' not in value:
            return ""
        sim = self._want_sim()
        is_pin = value.split(",")[1].strip('"').upper() == "0020000100"
        return f'+CSIM: 4,"63C{sim.tries_left if is_pin else 9:X}"'

    def _answer_registration(self, name: str, mark: str) -> str:
        if mark == "=?":
            return f"{name}: (0-2)"
        if mark != "?":
            return ""
        is_known = self.sim is not None and self.sim.is_open
        state = self.registration if is_known else 0
        where = f',"0001","00000001",{_LTE}' if state in (Registration.HOME, Registration.ROAMING) else ""
        return f"{name}: 2,{int(state)}{where}"

    def _answer_operator(self, mark: str, value: str) -> str:
        if mark == "=" and value.startswith("3,"):
            self._named = value.startswith("3,0")
        if mark != "?":
            return ""
        if self.registration not in (Registration.HOME, Registration.ROAMING) or self.sim is None:
            return "+COPS: 0"
        return f'+COPS: 0,0,"{OPERATOR}",{_LTE}' if self._named else f'+COPS: 0,2,"{PLMN}",{_LTE}'

    _named = True

    def _answer_contexts(self, mark: str, value: str) -> str:
        if mark == "=?":
            return '+CGDCONT: (1-8),"IP",,,(0),(0)'
        if mark == "?":
            return "\r\n".join(f'+CGDCONT: {cid},"IP","{apn}","",0,0' for cid, apn in self._contexts.items())
        cid, _, apn = (entry.strip('"') for entry in (*value.split(",")[:3], "", "")[:3])
        self._contexts[cid] = apn
        return ""

    def _answer_active(self, mark: str, _: str) -> str:
        """There is one call at most, by the context that was defined last."""
        if mark != "?":
            return ""
        active = next(reversed(self._contexts), "") if self._call is not None else ""
        return "\r\n".join(f"+CGACT: {cid},{int(cid == active)}" for cid in self._contexts)

    def _dial(self, command: str) -> str:
        self._want_open_sim()
        found = re.search(r"\*\*\*(\d+)#", command)
        apn = self._contexts.get(found.group(1) if found else "1", "")
        is_home = self.registration in (Registration.HOME, Registration.ROAMING)
        return "CONNECT" if is_home and apn in self._apns else "NO CARRIER"

    def _carry(self, fd: int) -> None:
        """The line is the network's until one of both ends hangs up."""
        self.calls += 1
        secrets = Path(self._folder.name) / "secrets"
        secrets.write_text("".join(f'"{name}" * "{password}" *\n' for name, password in self._users.items()))
        auth = "auth require-chap name operator" if self._users else "noauth"
        script = _PPP.format(secrets=secrets, auth=auth, subnet=self._subnet)
        with (Path(self._folder.name) / "ppp.log").open("ab") as log:
            argv = ["unshare", "--mount", "--propagation", "slave", "sh", "-ec", script]
            self._call = subprocess.Popen(self.network.argv(*argv), stdin=fd, stdout=fd, stderr=log)
        self._call.wait()
        self._call = None
        os.write(fd, b"\r\nNO CARRIER\r\n")

    def log(self) -> str:
        """What the peer said."""
        path = Path(self._folder.name) / "ppp.log"
        return path.read_text(errors="replace")[-4000:] if path.exists() else ""


class _RefusalError(Exception):
    """A result other than OK."""
