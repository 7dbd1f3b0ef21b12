"""What the local exchange refuses: a configuration, a source, a handshake, a question of the control interface."""

from book.errors import ExchangeError


class ConfigError(ExchangeError):
    """A configuration that cannot be run; ``field`` is the setting at fault."""

    def __init__(self, field: str, error: str) -> None:
        super().__init__(f"{field}: {error}")
        self.field = field


class SourceError(ExchangeError):
    """A capture that cannot be played; ``path`` is the file or folder at fault."""

    def __init__(self, path: str, error: str) -> None:
        super().__init__(f"{path}: {error}")
        self.path = path


class AuthError(ExchangeError):
    """A request whose signature does not stand; ``details`` is the venue's word for why."""

    def __init__(self, details: str) -> None:
        super().__init__(details)
        self.details = details


class RefusedError(ExchangeError):
    """A request over HTTP refused; ``status`` and ``code`` are what the answer carries."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class OrderError(ExchangeError):
    """A fault that cannot be made as ordered; ``field`` is at fault."""

    def __init__(self, field: str, error: str) -> None:
        super().__init__(f"{field}: {error}")
        self.field = field


class ScenarioError(ExchangeError):
    """A scenario file that cannot be run; ``path``, ``line`` (from 1, 0 for the whole file) and ``field`` say where."""

    def __init__(self, path: str, line: int, field: str, error: str) -> None:
        where = f"{path}:{line}" if line else path
        super().__init__(f"{where}: {field}: {error}" if field else f"{where}: {error}")
        self.path = path
        self.line = line
        self.field = field
