"""The README of a folder for a Raspberry Pi."""

from __future__ import annotations

from dataclasses import dataclass

from vegrt.export.deploy.packages import NOT_PUBLISHED
from vegrt.export.deploy.raspberrypi.units import ANSWERS, HOME, JOURNAL_FILE, STATE, Service

_README = """\
# {name} on a Raspberry Pi

Written by vegrt {version} from bundle `{name}`, manifest SHA-256
{sha256}.
**This has not run on a Raspberry Pi.** The units were checked by systemd-analyze, the script by shellcheck, and pip found a
wheel of every package for aarch64 and Python 3.11 and 3.13, on 2026-11-29.

Copy this folder to a Raspberry Pi 3, 4, 5, Zero 2 W or newer with the 64-bit Raspberry Pi OS 12 (bookworm) or later, and there:

    sudo ./install.sh

It installs {home} (bundle and Python packages), runs `vegrt verify`, and starts `{unit}`, which starts again after a
failure and after a reboot. Run it again for a new version: the old one stays until the new one is verified.

| file | content |
|---|---|
| `{unit}` | {purpose} |
| `{journal}` | size and age of its logs |
| `install.sh` | installs both, needs root |
| `requirements.txt`, `constraints.txt` | packages{wheel}, and the versions that were installed where this folder was written |
| `bundle/` | the whole bundle |

## Use

{use}

    systemctl status {unit}
    journalctl --namespace=vegrt --follow
    systemd-analyze security {unit}

Logs have their own journal of at most 50 MB and one month, which journald rotates. {state_folder} is the only folder that
survives a restart and that the service may write. Nothing but the answers is written there so far; counters of the service
belong there too.

## Packages

{origin}

A 32-bit system cannot be used: on PyPI, ONNX Runtime has neither a wheel for armv7l nor a source package from which piwheels
could build one. On the 64-bit system every package comes from PyPI as a wheel for aarch64, and nothing is compiled.

## Security

The service runs as a user of its own that owns nothing (DynamicUser), sees a read-only system without home folders and
devices, has no capability, and may use only the system calls of ordinary services. {network}
`MemoryMax={memory_max}` needs the kernel's memory controller, which Raspberry Pi OS may switch off: if `cat
/sys/fs/cgroup/cgroup.controllers` does not name `memory`, add `cgroup_enable=memory` to /boot/firmware/cmdline.txt.

To remove everything: `sudo systemctl disable --now {unit} && sudo rm -r {home} /etc/systemd/system/{unit} /etc/systemd/{journal}`
and, with the answers, `sudo rm -r {state_folder} /var/lib/private/vegrt`.
"""
_WATCH = """\
Put photos into `{watch}`. Each is classified once it has stopped growing. Its answer is a line of
{answers}.part (JSON Lines, readable by root), which loses its `.part` while the service is stopped. After a restart it
goes on where it was. The folder is never written. Its photos must be readable by every user: `chmod o+rx {watch}`. The answers
grow without limit; to start a new file:

    sudo systemctl stop {unit}
    sudo sh -c 'cd {state_folder} && for file in answers.jsonl*; do mv "$file" "$(date +%F)-$file"; done'
    sudo systemctl start {unit}        # photos that are still in the folder are classified again"""
_SERVE = """\
    curl --data-binary @photo.jpg http://127.0.0.1:{port}/v1/predict

It listens on {host}, without authentication and TLS. `--host 0.0.0.0` of `vegrt deploy raspberrypi` opens it to your network."""
_NETWORKS = {
    "watch": "It has no network.",
    "local": "It talks to this machine only.",
    "open": "Everyone who can reach the device can use it: it has no authentication.",
}


@dataclass(frozen=True, slots=True)
class PiFacts:
    """What the README states besides the service."""

    name: str
    version: str
    sha256: str
    wheel: str


def pi_readme(facts: PiFacts, service: Service) -> str:
    """Return the README's text."""
    use = _WATCH if service.watch else _SERVE
    names = {
        "unit": service.unit,
        "watch": service.watch,
        "answers": ANSWERS,
        "host": service.host,
        "port": service.port,
        "state_folder": STATE,
    }
    reach = "watch" if service.watch else "local" if service.is_local else "open"
    return _README.format(
        **names
        | {
            "name": facts.name,
            "version": facts.version,
            "sha256": facts.sha256,
            "home": HOME,
            "journal": JOURNAL_FILE,
            "wheel": f" with `{facts.wheel}`" if facts.wheel else "",
            "purpose": "classifies the photos of a folder" if service.watch else "runs `vegrt serve`",
            "use": use.format(**names),
            "origin": f"vegrt comes from `{facts.wheel}`, which lies here."
            if facts.wheel
            else NOT_PUBLISHED.format(target="raspberrypi"),
            "network": _NETWORKS[reach],
            "memory_max": service.memory_max,
        }
    )
