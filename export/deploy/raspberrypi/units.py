"""The systemd unit of a service, its journal, and the script that installs both.

Directives and their meaning: systemd.exec(5), systemd.service(5), systemd.resource-control(5) and journald.conf(5) of systemd
252, which Raspberry Pi OS 12 has. The tests check them with systemd-analyze.
"""

from __future__ import annotations

from dataclasses import dataclass

from vegrt.export.deploy.folder import BUNDLE, PUBLIC_KEY

HOME = "/opt/vegrt"
STATE = "/var/lib/vegrt"
ANSWERS = f"{STATE}/answers.jsonl"
JOURNAL_FILE = "journald@vegrt.conf"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")

_UNIT = """\
# {title}
[Unit]
Description={description}
{after}
[Service]
ExecStart={command}
Restart=on-failure
RestartSec=5
{stopping}
# A user that exists only while the service runs. What it writes is in /var/lib/vegrt (StateDirectory): {state}.
DynamicUser=yes
StateDirectory=vegrt
CacheDirectory=vegrt
WorkingDirectory={state_folder}
Environment=HOME={state_folder} XDG_CACHE_HOME=/var/cache/vegrt PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# ONNX Runtime reports to Microsoft from 1.29 on, unless this is set
Environment=ORT_DISABLE_TELEMETRY=1

# Its own journal, which {journal} keeps small: journalctl --namespace=vegrt
LogNamespace=vegrt

MemoryMax={memory_max}
TasksMax=256
OOMPolicy=stop

NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome={protect_home}
{reads}PrivateTmp=yes
PrivateDevices=yes
{network}
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
CapabilityBoundingSet=
LockPersonality=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM
UMask=0077
# not MemoryDenyWriteExecute: OpenVINO and MNN may generate code

[Install]
WantedBy=multi-user.target
"""

_JOURNAL = """\
# journald.conf(5) of the namespace of {unit}: log rotation by size and by age
[Journal]
Storage=persistent
SystemMaxUse=50M
SystemMaxFileSize=5M
MaxRetentionSec=1month
RateLimitIntervalSec=30s
RateLimitBurst=1000
"""

_INSTALL = """\
#!/bin/sh
# Installs {unit}: run it on the Raspberry Pi, in this folder, as root: sudo ./install.sh
set -eu
cd "$(dirname "$0")"
export ORT_DISABLE_TELEMETRY=1

fail() {{
    echo "install.sh: $1" >&2
    exit 1
}}

[ "$(id -u)" -eq 0 ] || fail "needs root; run: sudo ./install.sh"
[ "$(uname -m)" = aarch64 ] || fail "this system is $(uname -m); expected aarch64: install the 64-bit Raspberry Pi OS"
python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' \\
    || fail "Python is $(python3 --version); expected 3.10 or later: Raspberry Pi OS 12 (bookworm) or later"
python3 -c 'import venv, ensurepip' 2>/dev/null || fail "Python has no venv; run: apt-get install python3-venv"
{check_watched}
# The new version is prepared beside the old one, and takes its place only once every model answers the golden photos. The virtual
# environment may be renamed, because it is only used as `python -m vegrt.cli`.
rm -rf {home}.new
mkdir -p {home}.new
cp -r {bundle}{key} {home}.new/
python3 -m venv {home}.new/venv
{home}.new/venv/bin/python -m pip install --quiet --no-cache-dir --only-binary :all: \\
    --requirement requirements.txt --constraint constraints.txt
{home}.new/venv/bin/python -m vegrt.cli verify {home}.new/{bundle}{verify_key}
chmod -R a+rX {home}.new

systemctl stop {unit} 2>/dev/null || true
rm -rf {home}
mv {home}.new {home}
install -m 644 {unit} /etc/systemd/system/{unit}
install -m 644 {journal} /etc/systemd/{journal}
systemctl daemon-reload
systemctl enable {unit}
systemctl restart {unit}
echo "installed; logs: journalctl --namespace=vegrt --follow"
"""
_CHECK_WATCHED = (
    '[ -d "{watch}" ] || fail "{watch}: no such folder; create it, or write this folder again with another --watch"\n'
)


@dataclass(frozen=True, slots=True)
class Service:
    """What a unit depends on. title: its first line. description: one line for `systemctl status`.

    watch: folder on the device whose photos are classified; empty to serve over HTTP on host and port. signed: whether a public
    key lies beside the bundle. memory_max: in systemd's form, such as 75% or 1G.
    """

    title: str
    description: str
    watch: str = ""
    host: str = "127.0.0.1"
    port: int = 8000
    signed: bool = False
    memory_max: str = "75%"

    @property
    def unit(self) -> str:
        """Return the name of the unit's file."""
        return "vegrt-watch.service" if self.watch else "vegrt.service"

    @property
    def is_local(self) -> bool:
        """Return whether the server can be reached from its own machine only."""
        return self.host in _LOOPBACK

    @property
    def command(self) -> str:
        """Return the command that the unit runs."""
        key = ["--public-key", f"{HOME}/{PUBLIC_KEY}"] if self.signed else []
        python = [f"{HOME}/venv/bin/python", "-m", "vegrt.cli"]
        if self.watch:
            words = ["infer", self.watch, "--bundle", f"{HOME}/{BUNDLE}", "--follow", "--out", ANSWERS, "--resume"]
        else:
            words = ["serve", f"{HOME}/{BUNDLE}", "--host", self.host, "--port", str(self.port)]
        return " ".join([*python, *words, *key])


def unit_file(service: Service) -> str:
    """Return the text of the unit."""
    watch = service.watch
    return _UNIT.format(
        title=service.title,
        description=service.description,
        after=f"RequiresMountsFor={watch}\n" if watch else "After=network.target\n",
        command=service.command,
        # on SIGTERM vegrt infer finishes its file, and ends with 130 while it still loads; vegrt serve answers for up to 60 s
        stopping="SuccessExitStatus=130\nTimeoutStopSec=60" if watch else "TimeoutStopSec=75",
        state="the answers" if watch else "so far nothing",
        state_folder=STATE,
        journal=JOURNAL_FILE,
        memory_max=service.memory_max,
        # in a home folder too, nothing but the watched folder can be seen
        protect_home="tmpfs" if watch else "yes",
        reads=f"BindReadOnlyPaths={watch}\n" if watch else "",
        network=_network(service),
    )


def journal_file(service: Service) -> str:
    """Return the settings of the service's journal."""
    return _JOURNAL.format(unit=service.unit)


def install_script(service: Service) -> str:
    """Return the script that installs the service."""
    return _INSTALL.format(
        unit=service.unit,
        check_watched=_CHECK_WATCHED.format(watch=service.watch) if service.watch else "",
        home=HOME,
        bundle=BUNDLE,
        key=f" {PUBLIC_KEY}" if service.signed else "",
        verify_key=f" --public-key {HOME}.new/{PUBLIC_KEY}" if service.signed else "",
        journal=JOURNAL_FILE,
    )


def _network(service: Service) -> str:
    """Return the directives for the network: none for a watched folder, loopback or everything for a server."""
    if service.watch:
        return "PrivateNetwork=yes\nRestrictAddressFamilies=AF_UNIX"
    families = "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX"
    if service.is_local:
        return f"{families}\nIPAddressDeny=any\nIPAddressAllow=localhost"
    return families
