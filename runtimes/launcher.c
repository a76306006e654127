/*
 * The launcher: makes exactly the mechanisms that it is told to, and becomes the agent.
 *
 * What an OCI runtime does to a process, one step at a time: the words of the command line are
 * steps, executed in their order, and the last one is exec. Nothing else happens between the
 * harness's fork and the agent's first instruction, so a step more on the command line is the
 * step's cost. A step that fails ends the launcher with its words and the kernel's.
 *
 *   mkdir PATH                 write PATH VALUE           a control group is these two
 *   unshare FLAGS              new namespaces (CLONE_NEW*, a number)
 *   fork                       go on in a child of our own parent, whose pid is printed: only a
 *                              child is in a new pid namespace
 *   hostname NAME              loopback                   private
 *   mount SOURCE TARGET TYPE FLAGS DATA                   the target is made if need be
 *   device PATH MAJOR MINOR    link TARGET PATH
 *   mask PATH                  readonly PATH              what is not there is passed over
 *   pivot ROOT                 the root becomes ROOT, and the old one is let go
 *   chroot PATH
 *   capabilities MASK          keep these alone, and no_new_privs
 *   seccomp                    refuse the system calls of DENIED
 *   exec PROGRAM ARGUMENT...
 *
 * DENIED comes from the compiler's command line, as X(name) X(name) …
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#endif
#define X32_BIT 0x40000000u

static char **step; /* the words of the step under way, for its failure */

static void fail(void)
{
    dprintf(2, "tarebench launcher: %s %s: %s\n", step[0], step[1] ? step[1] : "", strerror(errno));
    _exit(1);
}

static void check(long result)
{
    if (result < 0)
        fail();
}

static void write_file(const char *path, const char *value)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    check(fd);
    check(write(fd, value, strlen(value)));
    close(fd);
}

/* CLONE_PARENT: the harness is the parent of the box, as it is without this step. */
static void go_on_in_child(void)
{
    long pid = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
    check(pid);
    if (pid) {
        dprintf(1, "%ld\n", pid);
        _exit(0);
    }
}

static void raise_loopback(void)
{
    struct ifreq request = {.ifr_name = "lo"};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    check(fd);
    check(ioctl(fd, SIOCGIFFLAGS, &request));
    request.ifr_flags |= IFF_UP;
    check(ioctl(fd, SIOCSIFFLAGS, &request));
    close(fd);
}

static void make_target(const char *target, const char *source)
{
    struct stat at;
    if (!stat(target, &at))
        return;
    if (!stat(source, &at) && !S_ISDIR(at.st_mode)) {
        int fd = open(target, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        check(fd);
        close(fd);
    } else
        check(mkdir(target, 0755));
}

static void mount_one(char **w)
{
    make_target(w[1], w[0]);
    check(mount(w[0], w[1], *w[2] ? w[2] : NULL, strtoul(w[3], NULL, 0), *w[4] ? w[4] : NULL));
}

static void make_device(char **w)
{
    mode_t before = umask(0);
    check(mknod(w[0], S_IFCHR | 0666, makedev(atoi(w[1]), atoi(w[2]))));
    umask(before);
}

static void mask(const char *path)
{
    struct stat at;
    if (stat(path, &at))
        return;
    if (S_ISDIR(at.st_mode))
        check(mount("tmpfs", path, "tmpfs", MS_RDONLY, NULL));
    else
        check(mount("/dev/null", path, NULL, MS_BIND, NULL));
}

static void make_readonly(const char *path)
{
    struct stat at;
    if (stat(path, &at))
        return;
    check(mount(path, path, NULL, MS_BIND | MS_REC, NULL));
    check(mount(NULL, path, NULL,
                MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL));
}

/* The old root is put upon the new one and let go from there (pivot_root(2), NOTES). */
static void pivot(const char *root)
{
    check(chdir(root));
    check(syscall(SYS_pivot_root, ".", "."));
    check(umount2(".", MNT_DETACH));
    check(chdir("/"));
}

static void keep_capabilities(unsigned long long kept)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {0};
    for (int bit = 0; prctl(PR_CAPBSET_READ, bit, 0, 0, 0) >= 0; bit++)
        if (!(kept >> bit & 1))
            check(prctl(PR_CAPBSET_DROP, bit, 0, 0, 0));
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    for (int half = 0; half < 2; half++)
        data[half].permitted = data[half].effective = (unsigned)(kept >> 32 * half);
    check(syscall(SYS_capset, &head, data));
    check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

static void refuse_calls(void)
{
#define X(name) SYS_##name,
    static const unsigned denied[] = {DENIED};
#undef X
    enum { COUNT = sizeof denied / sizeof *denied };
    struct sock_filter filter[COUNT + 7] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, COUNT + 1, 0),
    };
    for (unsigned i = 0; i < COUNT; i++)
        filter[5 + i] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, denied[i],
                                                     COUNT - i, 0);
    filter[COUNT + 5] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    filter[COUNT + 6] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
    struct sock_fprog program = {.len = COUNT + 7, .filter = filter};
    check(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
}

/* Executes the step at w[0]; returns how many words it took. */
static int execute(char **w)
{
    if (!strcmp(w[0], "mkdir"))
        return check(mkdir(w[1], 0755)), 2;
    if (!strcmp(w[0], "write"))
        return write_file(w[1], w[2]), 3;
    if (!strcmp(w[0], "unshare"))
        return check(unshare((int)strtoul(w[1], NULL, 0))), 2;
    if (!strcmp(w[0], "fork"))
        return go_on_in_child(), 1;
    if (!strcmp(w[0], "hostname"))
        return check(sethostname(w[1], strlen(w[1]))), 2;
    if (!strcmp(w[0], "loopback"))
        return raise_loopback(), 1;
    if (!strcmp(w[0], "private"))
        return check(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)), 1;
    if (!strcmp(w[0], "mount"))
        return mount_one(w + 1), 6;
    if (!strcmp(w[0], "device"))
        return make_device(w + 1), 4;
    if (!strcmp(w[0], "link"))
        return check(symlink(w[1], w[2])), 3;
    if (!strcmp(w[0], "mask"))
        return mask(w[1]), 2;
    if (!strcmp(w[0], "readonly"))
        return make_readonly(w[1]), 2;
    if (!strcmp(w[0], "pivot"))
        return pivot(w[1]), 2;
    if (!strcmp(w[0], "chroot"))
        return check(chroot(w[1])), check(chdir("/")), 2;
    if (!strcmp(w[0], "capabilities"))
        return keep_capabilities(strtoull(w[1], NULL, 0)), 2;
    if (!strcmp(w[0], "seccomp"))
        return refuse_calls(), 1;
    if (!strcmp(w[0], "exec"))
        execv(w[1], w + 1);
    else
        errno = EINVAL;
    fail();
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    step = argv + 1;
    for (;;)
        step += execute(step);
}
