"""What one file may cost, and where it may come from."""

from dataclasses import dataclass, fields

from avrec.errors import MediaError

MIN_MEMORY_MB = 384
"""The decoding child alone takes some 230 MiB of address space."""
FREE_OUTPUT_BYTES = 256 << 20
"""What any file may be decoded to, whatever its size."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one file may cost; a file beyond a limit ends as an error, the run goes on."""

    timeout_seconds: float = 60.0
    """Wall time, and CPU time, for probing or decoding one file."""
    memory_mb: int = 2048
    """Address space of the decoding child, MiB."""
    max_file_mb: int = 4096
    """Largest file that is opened, MiB."""
    max_hours: float = 24.0
    """Longest file that is opened, by what it claims; of a long one `max_seconds` are decoded."""
    max_pixels: int = 36_000_000
    """Largest picture that is decoded, width times height; 8K video has 33 million."""
    max_streams: int = 64
    """Most streams, of all kinds, that a file may have."""
    max_channels: int = 64
    """Most channels that a sound may have."""
    max_output_ratio: float = 200_000.0
    """Bytes that may be decoded for each byte of the file, from 256 MiB on; a still picture held
    for minutes comes to some 50,000."""
    max_output_mb: int = 512
    """Frames and sound that are kept of one file, MiB."""
    fetch_seconds: float = 600.0
    """Wall time for fetching one file over http or https."""
    max_redirects: int = 5
    """How often an http server may send us on."""
    allow_private_hosts: bool = False
    """Whether http and https may reach this machine and private networks."""

    def __post_init__(self) -> None:
        numbers = [field.name for field in fields(self) if field.name != "allow_private_hosts"]
        for name in numbers:
            if not getattr(self, name) > 0 and name != "max_redirects":
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        if self.max_redirects < 0:
            raise ValueError(f"max_redirects must be at least 0, got {self.max_redirects}")
        if self.memory_mb < MIN_MEMORY_MB:
            raise ValueError(f"memory_mb must be at least {MIN_MEMORY_MB}, got {self.memory_mb}")


DEFAULT_LIMITS = Limits()


@dataclass(slots=True)
class Meter:
    """Counts what comes out of one file."""

    limits: Limits
    size_bytes: int
    _decoded_bytes: int = 0

    def add(self, num_bytes: int) -> None:
        """Count bytes decoded, kept or not.

        Raises:
            MediaError: of kind too_large; the file gives more than its size allows.
        """
        self._decoded_bytes += num_bytes
        allowed = max(FREE_OUTPUT_BYTES, self.limits.max_output_ratio * self.size_bytes)
        if self._decoded_bytes > allowed:
            raise MediaError(
                "too_large",
                f"it swells to more than {self.limits.max_output_ratio:g} times its size; "
                "raise media.limits.max_output_ratio if you trust it",
            )

    def keep(self, num_bytes: int) -> None:
        """Look at the bytes that are kept so far.

        Raises:
            MediaError: of kind too_large; they are more than may be kept.
        """
        if num_bytes > self.limits.max_output_mb << 20:
            raise MediaError(
                "too_large",
                f"its frames and sound take more than {self.limits.max_output_mb} MiB; lower "
                "embed.max_seconds or raise media.limits.max_output_mb",
            )
