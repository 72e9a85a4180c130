"""A private tree of kernel headers for bcc, so that no node needs its kernel's: made of linux-libc-dev's user-space headers and a
few small files that bcc's own start-up asks for."""

import platform
from pathlib import Path

from federation.errors import PlatformLack

SYSTEM = Path("/usr/include")
OWN = {
    "linux/kconfig.h": "#define CONFIG_BPF_SYSCALL 1\n",
    "linux/types.h": (
        "#pragma once\n#include_next <linux/types.h>\n"
        "typedef __u8 u8; typedef __u16 u16; typedef __u32 u32; typedef __u64 u64;\n"
        "typedef __s8 s8; typedef __s16 s16; typedef __s32 s32; typedef __s64 s64;\n"
        "typedef unsigned long uintptr_t; typedef unsigned long size_t; typedef _Bool bool;\n"
    ),
    "linux/version.h": "#define LINUX_VERSION_CODE 330240\n#define KERNEL_VERSION(a,b,c) (((a) << 16) + ((b) << 8) + (c))\n",
    "asm/page.h": "#define PAGE_SIZE 4096\n",
    "linux/log2.h": "",
    "uapi/linux/bpf.h": "",
}


def build(folder: Path) -> Path:
    """Make (or find) the tree in `folder`; its path is for `BCC_KERNEL_SOURCE`. Raises PlatformLack without linux-libc-dev."""
    machine = SYSTEM / f"{platform.machine()}-linux-gnu" / "asm"
    if not (SYSTEM / "linux" / "if_ether.h").exists() or not machine.exists():
        raise PlatformLack("the headers of linux-libc-dev are missing", hint="apt-get install linux-libc-dev")
    include = folder / "include"
    linux = SYSTEM / "linux"
    for name, sources in (
        ("linux", linux),
        ("uapi/linux", linux),
        ("asm", machine),
        ("asm-generic", SYSTEM / "asm-generic"),
    ):
        (include / name).mkdir(parents=True, exist_ok=True)
        for source in sources.iterdir():
            target = include / name / source.name
            if f"{name}/{source.name}" not in OWN and not target.is_symlink():
                target.symlink_to(source)
    for name, text in OWN.items():
        path = include / name
        path.parent.mkdir(parents=True, exist_ok=True)
        body = text
        if name == "linux/types.h":
            body = text.replace("#include_next <linux/types.h>", f'#include "{SYSTEM}/linux/types.h"')
        path.write_text(body)
    return folder
