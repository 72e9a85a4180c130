"""Real PostgreSQL servers on sockets of their own, which tests stop, freeze, kill and promote."""

import os
import pwd
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

POSTGRESQL = Path("/usr/lib/postgresql/15/bin")


@dataclass
class Server:
    """One server; its folder, which also holds its socket, is `folder`."""

    folder: Path
    port: int = 5432

    @property
    def url(self) -> str:
        """SQLAlchemy's."""
        return f"postgresql+asyncpg://postgres@/postgres?host={self.folder}&port={self.port}"

    def make(self) -> None:
        """A new database cluster."""
        self.own()
        self._run("initdb", "-D", self.folder / "db", "-A", "trust", "-U", "postgres", "--no-sync")

    def own(self) -> None:
        """Give the folder to the server's user."""
        user = pwd.getpwnam("postgres")
        self.folder.mkdir(exist_ok=True)
        os.chown(self.folder, user.pw_uid, user.pw_gid)

    def copy_of(self, primary: "Server") -> None:
        """Become a standby of it."""
        self.own()
        self._run(
            "pg_basebackup", "-h", primary.folder, "-p", str(primary.port), "-U", "postgres", "-D", self.folder / "db",
            "-R", "-X", "stream", "--no-sync", "-c", "fast",
        )  # fmt: skip

    def start(self, *options: str) -> None:
        """Wait until it answers."""
        said = f"-k {self.folder} -p {self.port} -c listen_addresses= -c fsync=off " + " ".join(
            f"-c {o}" for o in options
        )
        self._run("pg_ctl", "-D", self.folder / "db", "-o", said, "-l", self.folder / "log", "-w", "start")

    def stop(self, mode: str = "immediate") -> None:
        """Whether it runs or not."""
        words = self._words("pg_ctl", "-D", self.folder / "db", "-m", mode, "-w", "stop")
        subprocess.run(words, check=False, capture_output=True, cwd="/")

    def kill(self) -> None:
        """-9, at once, with all its sessions."""
        self._signal(signal.SIGKILL)

    def freeze(self) -> None:
        """It accepts, and never answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on."""
        self._signal(signal.SIGCONT)

    def promote(self) -> None:
        """The standby becomes the primary."""
        self._run("pg_ctl", "-D", self.folder / "db", "-w", "promote")

    def ask(self, statement: str) -> str:
        """What psql prints."""
        words = ["psql", "-h", self.folder, "-p", str(self.port), "-U", "postgres", "-XqAtc", statement]
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()

    def remove(self) -> None:
        """Nothing is left."""
        self.thaw()
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _signal(self, number: signal.Signals) -> None:
        try:
            pid = int((self.folder / "db" / "postmaster.pid").read_text().split()[0])
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except (OSError, ValueError, IndexError):
            return
        for process in (pid, *map(int, children)):
            try:
                os.kill(process, number)
            except ProcessLookupError:
                continue

    def _run(self, program: str, *words: str | Path) -> None:
        done = subprocess.run(
            self._words(program, *words), check=False, capture_output=True, text=True, cwd="/"
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def _words(self, program: str, *words: str | Path) -> list[str | Path]:
        user = pwd.getpwnam("postgres")
        return [
            "setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", POSTGRESQL / program, *words
        ]  # fmt: skip
