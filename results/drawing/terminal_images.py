"""Images on terminals that can show them: the protocols of kitty and of iTerm2.

Whether a terminal can is told by what it says of itself in the environment. Asking the terminal would need its
keyboard.
"""

import base64
from collections.abc import Callable, Mapping

_KITTY_CHUNK = 4096  # bytes of base64 in one escape sequence, as the protocol demands


def terminal_encoder(environ: Mapping[str, str]) -> Callable[[bytes], str] | None:
    """What turns a PNG into text that this terminal shows as an image; None if it's not known to show any.

    Multiplexers (tmux, screen) count as terminals that don't: they swallow both protocols.
    """
    if "TMUX" in environ or environ.get("TERM", "").startswith("screen"):
        return None
    if "KITTY_WINDOW_ID" in environ or environ.get("TERM") in ("xterm-kitty", "xterm-ghostty"):
        return _kitty
    if environ.get("TERM_PROGRAM") in ("iTerm.app", "WezTerm"):
        return _iterm2
    return None


def _kitty(png: bytes) -> str:
    """sw.kovidgoyal.net/kitty/graphics-protocol: transmit and display a PNG, in chunks; m=1 says that more follow."""
    data = base64.b64encode(png).decode("ascii")
    chunks = [data[i : i + _KITTY_CHUNK] for i in range(0, len(data), _KITTY_CHUNK)]
    return (
        "".join(
            f"\033_G{'a=T,f=100,' if i == 0 else ''}m={int(i < len(chunks) - 1)};{chunk}\033\\"
            for i, chunk in enumerate(chunks)
        )
        + "\n"
    )


def _iterm2(png: bytes) -> str:
    """iterm2.com/documentation-images.html."""
    return f"\033]1337;File=inline=1;size={len(png)}:{base64.b64encode(png).decode('ascii')}\a\n"
