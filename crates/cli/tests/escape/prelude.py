import ctypes, errno, os, platform, signal, socket, struct, sys, time
LIBC = ctypes.CDLL(None, use_errno=True)
ARM = platform.machine() == "aarch64"
# Numbers of calls: x86-64, 64-bit ARM.
NUMBERS = {
    "ioctl": (16, 29), "socket": (41, 198), "clone": (56, 220), "ptrace": (101, 117), "syslog": (103, 116),
    "personality": (135, 92), "modify_ldt": (154, -1), "pivot_root": (155, 41), "prctl": (157, 167), "adjtimex": (159, 171),
    "setrlimit": (160, 164), "chroot": (161, 51), "sync": (162, 81), "acct": (163, 89), "settimeofday": (164, 170),
    "mount": (165, 40), "umount2": (166, 39), "swapon": (167, 224), "swapoff": (168, 225), "reboot": (169, 142),
    "sethostname": (170, 161), "setdomainname": (171, 162), "iopl": (172, -1), "ioperm": (173, -1),
    "init_module": (175, 105), "delete_module": (176, 106), "quotactl": (179, 60), "io_setup": (206, 0),
    "clock_settime": (227, 112), "kexec_load": (246, 104), "add_key": (248, 217), "request_key": (249, 218),
    "keyctl": (250, 219), "migrate_pages": (256, 238), "unshare": (272, 97), "vmsplice": (278, 75), "move_pages": (279, 239),
    "perf_event_open": (298, 241), "fanotify_init": (300, 262), "prlimit64": (302, 261), "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265), "clock_adjtime": (305, 266), "syncfs": (306, 267), "setns": (308, 268),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272), "finit_module": (313, 273),
    "seccomp": (317, 277), "memfd_create": (319, 279), "kexec_file_load": (320, 294), "bpf": (321, 280), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "pidfd_open": (434, 434), "clone3": (435, 435), "openat2": (437, 437), "pidfd_getfd": (438, 438), "process_madvise": (440, 440),
    "mount_setattr": (442, 442), "quotactl_fd": (443, 443), "landlock_create_ruleset": (444, 444), "memfd_secret": (447, 447),
    "process_mrelease": (448, 448), "cachestat": (451, 451), "fchmodat2": (452, 452), "statmount": (457, 457), "listmount": (458, 458),
    "lsm_get_self_attr": (459, 459), "open_tree_attr": (467, 467), "file_setattr": (469, 469),
    "mknodat": (259, 33), "openat": (257, 56), "fchmodat": (268, 53), "fchmod": (91, 52), "renameat2": (316, 276),
}
def error(number):
    return errno.errorcode.get(number, str(number))
def raw(number, *arguments):
    ctypes.set_errno(0)
    words = [ctypes.c_char_p(one) if isinstance(one, bytes) else ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    result = LIBC.syscall(ctypes.c_long(number), *words)
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return result
def call(name, *arguments):
    return raw(NUMBERS[name][1 if ARM else 0], *arguments)
def say(what, how):
    print(f"{what}: {how}", flush=True)
def attempt(what, action):
    try:
        result = action()
    except OSError as refused:
        say(what, error(refused.errno))
    except Exception as refused:
        say(what, type(refused).__name__)
    else:
        say(what, "done" if result is None else f"done {result!r}"[:200])
        return result
def tries(*names_and_arguments):
    for name, *arguments in names_and_arguments:
        if NUMBERS[name][1 if ARM else 0] >= 0:
            attempt(name, lambda: call(name, *arguments))
def opens(path, flags=os.O_RDONLY):
    attempt(path, lambda: os.close(os.open(path, flags)))
def in_child(action):
    child = os.fork()
    if child == 0:
        try:
            action()
        finally:
            sys.stdout.flush()
            os._exit(0)
    os.waitpid(child, 0)
