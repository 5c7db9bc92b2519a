"""Which machine, and which process for good."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from pdtcli.host import boot_id, hostname, is_alive, process_start, session_members


def test_this_machine_has_a_name_and_a_boot_id() -> None:
    assert hostname().partition("+")[0] == os.uname().nodename
    assert len(boot_id()) == 36


def test_this_process_is_alive() -> None:
    start = process_start(os.getpid())
    assert start is not None
    assert is_alive(os.getpid(), start)


def test_the_same_pid_with_another_start_time_is_another_process() -> None:
    start = process_start(os.getpid())
    assert start is not None
    assert not is_alive(os.getpid(), start - 1)


def test_a_process_that_ended_is_not_alive_even_while_nobody_waited_for_it() -> None:
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    start = process_start(child.pid)
    assert start is not None
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie now
    zombie_is_alive = is_alive(child.pid, start)
    child.communicate()
    assert not zombie_is_alive
    assert not is_alive(child.pid, start)


def test_a_command_with_an_odd_name_is_read_right() -> None:
    program = "import ctypes; ctypes.CDLL(None).prctl(15, b') R 1 (x', 0, 0, 0); print('named', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        start = process_start(child.pid)
        own = process_start(os.getpid())
        child.kill()
    assert start is not None
    assert own is not None
    assert start >= own


def test_the_members_of_a_session_include_grandchildren() -> None:
    script = "sleep 60 & echo $!; wait"
    shell = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True, text=True)
    assert shell.stdout is not None
    sleeper = int(shell.stdout.readline())
    members = session_members(shell.pid)
    os.killpg(shell.pid, signal.SIGKILL)
    shell.communicate()
    assert sorted(members) == sorted([shell.pid, sleeper])
