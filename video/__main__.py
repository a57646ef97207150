"""Record video.mp4 at the project's root: `make video`.

On a virtual display: terminals (tmux in xterm) with a shell and the log of each role, the dashboard
in Chromium, and a caption below them, all recorded with ffmpeg. The stack is the usual one, with
its usual ports and var directory; nothing on the screen is staged. It takes two minutes.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from playwright.sync_api import Error as BrowserError
from playwright.sync_api import Page, sync_playwright

from lib.settings import DEFAULT_FILE, PROJECT_ROOT, load_settings
from lib.stack.launch import wake_supervisord
from video.script import INTERRUPT, SCENES, Scene

OUTPUT: Final = PROJECT_ROOT / "video.mp4"
PROGRAMS: Final = ("Xvfb", "xterm", "tmux", "ffmpeg", "chromium")
PACKAGES: Final = "apt-get install xvfb xterm tmux ffmpeg chromium fonts-dejavu"
"""How to install PROGRAMS on Debian."""
WIDTH: Final = 1600
HEIGHT: Final = 900
CAPTION_HEIGHT: Final = 44
TERMINAL_WIDTH: Final = 640
FRAMES_PER_S: Final = 12
QUALITY: Final = 30
"""The quality of x264: a lower number is better, and makes a larger file."""
KEY_S: Final = 0.03
"""The time between two typed letters."""
READY_S: Final = 20.0
STOP_S: Final = 30.0
LOOK_S: Final = 0.2
COLUMNS: Final = 91
ROWS: Final = 60
COLOURS: Final = {
    1: "#ff7468",
    2: "#3ecf8e",
    3: "#f0b552",
    4: "#6fb1ef",
    5: "#d9a0f0",
    6: "#5fd3d3",
}
"""The terminals' colours by number: xterm's own are too dark to read."""
LOGS: Final = ("gateway", "orderbook", "strategy", "order_manager")
"""The programs whose logs are shown, each in a pane of its own."""
BROWSER: Final = (
    *("--no-first-run", "--disable-gpu", "--disable-quic", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-sandbox", "--test-type"),
    f"--window-position={TERMINAL_WIDTH},0",
    f"--window-size={WIDTH - TERMINAL_WIDTH},{HEIGHT - CAPTION_HEIGHT}",
    "--app=about:blank",
)


class VideoError(Exception):
    """The video cannot be recorded (one human-readable line)."""


class Terminal:
    """A tmux session: a shell to type in, and a pane for the log of each role."""

    def __init__(self, socket: Path, environment: Mapping[str, str]) -> None:
        self._tmux = ["tmux", "-S", str(socket), "-f", "/dev/null"]
        self._environment = environment

    def open(self) -> None:
        """Start everything in it."""
        self._run("new-session", "-d", "-x", str(COLUMNS), "-y", str(ROWS), "bash --norc")
        for option in ("status off", "pane-border-status top", "pane-border-format ' #T '"):
            self._run("set", "-g", *shlex.split(option))
        for log in reversed(LOGS):
            follow = shlex.join([sys.executable, "-m", "lib.log_view", "--role", log])
            self._run("split-window", "-v", "-d", "-l", "8", follow)
        self._run("split-window", "-v", "-d", "-l", "14", "bash --norc")
        for number, title in enumerate(("the stack", "shell", *(f"log of {log}" for log in LOGS))):
            self._run("select-pane", "-t", f":.{number}", "-T", title)
        self._run("select-pane", "-t", ":.0")

    @property
    def command(self) -> list[str]:
        """The command that shows it in a window."""
        return [*self._tmux, "attach"]

    def type(self, text: str, pane: int) -> None:
        """Type a command into a shell, as a person would, and Enter; or press Ctrl-C."""
        where = f":.{pane}"
        if text == INTERRUPT:
            self._run("send-keys", "-t", where, INTERRUPT)
            return
        for letter in text:
            self._run("send-keys", "-t", where, "-l", letter)
            time.sleep(KEY_S)
        self._run("send-keys", "-t", where, "Enter")

    def close(self) -> None:
        """End the session with everything in it, if it was opened."""
        subprocess.run([*self._tmux, "kill-server"], stderr=subprocess.DEVNULL, check=False)

    def _run(self, *arguments: str) -> None:
        subprocess.run(
            [*self._tmux, *arguments], env=self._environment, cwd=PROJECT_ROOT, check=True
        )


def main() -> int:
    """Record; return the exit code."""
    try:
        check()
        with tempfile.TemporaryDirectory(prefix="video-") as directory:
            record(Path(directory))
    except VideoError as error:
        print(f"no video: {error}", file=sys.stderr)
        return 1
    print(f"{OUTPUT.name}: {OUTPUT.stat().st_size / 1e6:.1f} MB")
    return 0


def check() -> None:
    """Raise VideoError if a program is missing, or a stack runs already."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        raise VideoError(f"{', '.join(missing)} not there: {PACKAGES}")
    if wake_supervisord(load_settings(DEFAULT_FILE).var_dir):
        raise VideoError("a stack runs already: stop it first")


def record(directory: Path) -> None:
    """Play all scenes on a display of their own, and record them."""
    settings = load_settings(DEFAULT_FILE)
    address = f"http://{settings.dashboard.host}:{settings.dashboard.port}"
    caption = directory / "caption"
    caption.write_text("")
    with ExitStack() as stack:
        display = stack.enter_context(_display())
        environment = {
            **os.environ,
            "DISPLAY": display,
            "PS1": "$ ",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        terminal = Terminal(directory / "tmux", environment)
        stack.callback(terminal.close)
        terminal.open()
        stack.enter_context(
            _window(environment, terminal.command, "0", "0", f"{COLUMNS}x{ROWS}", "8")
        )
        show = f"while clear; cat {shlex.quote(str(caption))}; do sleep {LOOK_S}; done"
        below = str(HEIGHT - CAPTION_HEIGHT)
        stack.enter_context(_window(environment, ["sh", "-c", show], "0", below, "133x1", "15"))
        page = stack.enter_context(_browser(directory, environment))
        time.sleep(2.0)
        stack.enter_context(_recording(environment))
        for scene in SCENES:
            _play(scene, terminal, page, caption, address)


def _play(scene: Scene, terminal: Terminal, page: Page, caption: Path, address: str) -> None:
    began_s = time.monotonic()
    caption.write_text(f" {scene.caption}")
    if scene.typed:
        terminal.type(scene.typed, scene.pane)
    if scene.page:
        _show(page, address + "/" if scene.page == "/" else (PROJECT_ROOT / scene.page).as_uri())
    while (left_s := began_s + scene.seconds - time.monotonic()) > 0:
        page.wait_for_timeout(1000 * min(LOOK_S, left_s))


def _show(page: Page, address: str) -> None:
    """Load a page in the browser; wait until it is there."""
    give_up_s = time.monotonic() + READY_S
    while True:
        try:
            page.goto(address)
        except BrowserError as error:
            if time.monotonic() > give_up_s:
                raise VideoError(f"{address} does not come: {error}") from None
            page.wait_for_timeout(1000 * LOOK_S)
        else:
            return


@contextmanager
def _display() -> Iterator[str]:
    """Run an X server without a screen; yield its display name."""
    read_end, write_end = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write_end), "-screen", "0", f"{WIDTH}x{HEIGHT}x24"],
        pass_fds=[write_end],
        stderr=subprocess.DEVNULL,
    )
    os.close(write_end)
    try:
        with os.fdopen(read_end) as answer:
            number = answer.readline().strip()
        if not number:
            raise VideoError("Xvfb does not start")
        yield f":{number}"
    finally:
        _end(server, signal.SIGTERM)


@contextmanager
def _window(
    environment: Mapping[str, str],
    command: Sequence[str],
    left: str,
    top: str,
    size: str,
    points: str,
) -> Iterator[None]:
    """Run a command in a terminal window; `size` in characters, the position in pixels."""
    window = subprocess.Popen(
        [
            *("xterm", "-geometry", f"{size}+{left}+{top}", "-b", "3", "-bw", "0"),
            *("-fa", "DejaVu Sans Mono", "-fs", points, "-bg", "#11161c", "-fg", "#e6ebf0"),
            *(
                word
                for number, colour in COLOURS.items()
                for word in ("-xrm", f"*color{number}: {colour}")
            ),
            *("-e", *command),
        ],
        env=environment,
    )
    try:
        yield
    finally:
        _end(window, signal.SIGTERM)


@contextmanager
def _browser(directory: Path, environment: Mapping[str, str]) -> Iterator[Page]:
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            directory / "browser",
            executable_path=shutil.which("chromium"),
            headless=False,
            args=list(BROWSER),
            env=dict(environment),
            no_viewport=True,
            color_scheme="dark",
            ignore_default_args=["--enable-automation"],
        )
        try:
            yield context.pages[0]
        finally:
            context.close()


@contextmanager
def _recording(environment: Mapping[str, str]) -> Iterator[None]:
    """Record the display into OUTPUT; the old file stays until the new one is complete."""
    new = OUTPUT.with_suffix(".new.mp4")
    recorder = subprocess.Popen(
        [
            *("ffmpeg", "-y", "-loglevel", "error", "-f", "x11grab", "-draw_mouse", "0"),
            *("-framerate", str(FRAMES_PER_S), "-video_size", f"{WIDTH}x{HEIGHT}"),
            *("-i", environment["DISPLAY"], "-c:v", "libx264", "-preset", "veryfast"),
            *("-crf", str(QUALITY), "-pix_fmt", "yuv420p", "-movflags", "+faststart", str(new)),
        ],
        stdin=subprocess.DEVNULL,
    )
    try:
        yield
    except BaseException:
        _end(recorder, signal.SIGKILL)
        new.unlink(missing_ok=True)
        raise
    _end(recorder, signal.SIGINT)
    if not new.exists():
        raise VideoError("ffmpeg has written nothing")
    new.replace(OUTPUT)


def _end(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """End a process that we started."""
    process.send_signal(number)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
