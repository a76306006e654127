/*
 * The agent: the one program that is the same file in every box.
 *
 * It opens the channel, says READY, and then runs jobs, one at a time, for the host. Boxes on
 * the host's kernel start it with a Unix socket, guests as PID 1 with a virtio port. In a
 * guest's initramfs the same file, started as /init, brings up the disk and switches root.
 *
 *   agent unix:PATH [--cgroup-fd N]...    connect, say READY, serve
 *   agent virtio:NAME                     the same over a virtio-serial port (PID 1); as /init
 *                                         with `sign:PORT`, a byte to that I/O port; with
 *                                         `root:DEVICE`, on that disk's file system; with
 *                                         `within:DISK`, on the first of DISK that is a system's
 *   agent tty:DEVICE                      the same over a terminal, such as a second console
 *   agent --manifest ROOT [EXCLUDE]...    print the manifest of a tree (also on the host)
 *   agent --isolation …                   probe what this box keeps apart: see isolation.c
 *   agent --version
 *
 * Wire format: frames of an 8-byte header (4 ASCII characters, then the payload's length as
 * a little-endian 32-bit number) and the payload. See harness/channel.py for the other side.
 *
 * Single-threaded, static, no dependency but libc: what it costs is part of what is measured.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/netlink.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#if defined(__x86_64__)
#include <sys/io.h>
#endif
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define CHUNK 65536
#define MAX_REQUEST (16u << 20)
#define NS 1000000000LL

static int channel = -1;
static int is_init; /* PID 1 of a guest: ends by powering off, never by returning */

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * NS + t.tv_nsec;
}

static void power_off(void)
{
    sync();
    /* With reboot=t on the command line this is one triple fault: the quickest clean end. */
    reboot(RB_AUTOBOOT);
    for (;;)
        pause();
}

static void die(const char *what)
{
    fprintf(stderr, "tarebench agent: %s: %s\n", what, strerror(errno));
    if (getpid() == 1 && is_init)
        power_off();
    _exit(1);
}

/* ------------------------------------------------------------------ SHA-256 (FIPS 180-4) */

struct sha256 {
    uint32_t h[8];
    uint64_t bytes;
    uint8_t block[64];
};

static const uint32_t K256[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t ror(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void sha256_block(struct sha256 *s, const uint8_t *p)
{
    uint32_t w[64], v[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)p[4 * i] << 24 | p[4 * i + 1] << 16 | p[4 * i + 2] << 8 | p[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + w[i - 7] + (ror(a, 7) ^ ror(a, 18) ^ a >> 3)
             + (ror(b, 17) ^ ror(b, 19) ^ b >> 10);
    }
    memcpy(v, s->h, sizeof v);
    for (int i = 0; i < 64; i++) {
        uint32_t e = v[4], a = v[0];
        uint32_t t1 = v[7] + (ror(e, 6) ^ ror(e, 11) ^ ror(e, 25))
                    + ((e & v[5]) ^ (~e & v[6])) + K256[i] + w[i];
        uint32_t t2 = (ror(a, 2) ^ ror(a, 13) ^ ror(a, 22)) + ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));
        v[7] = v[6]; v[6] = v[5]; v[5] = v[4]; v[4] = v[3] + t1;
        v[3] = v[2]; v[2] = v[1]; v[1] = v[0]; v[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++)
        s->h[i] += v[i];
}

static void sha256_start(struct sha256 *s)
{
    static const uint32_t h0[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                   0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(s->h, h0, sizeof h0);
    s->bytes = 0;
}

static void sha256_add(struct sha256 *s, const uint8_t *p, size_t n)
{
    size_t held = s->bytes % 64;
    s->bytes += n;
    if (held) {
        size_t take = n < 64 - held ? n : 64 - held;
        memcpy(s->block + held, p, take);
        p += take;
        n -= take;
        if (held + take < 64)
            return;
        sha256_block(s, s->block);
    }
    for (; n >= 64; p += 64, n -= 64)
        sha256_block(s, p);
    memcpy(s->block, p, n);
}

static void sha256_hex(struct sha256 *s, char out[65])
{
    uint64_t bits = s->bytes * 8;
    uint8_t pad[72] = {0x80}, *end;
    size_t n = 64 - (s->bytes + 8) % 64;
    end = pad + n;
    for (int i = 0; i < 8; i++)
        end[i] = bits >> (56 - 8 * i);
    sha256_add(s, pad, n + 8);
    for (int i = 0; i < 8; i++)
        sprintf(out + 8 * i, "%08x", s->h[i]);
}

static int hash_file(const char *path, char out[65])
{
    static uint8_t buffer[1 << 18];
    struct sha256 s;
    ssize_t n;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOATIME);
    if (fd < 0)
        fd = open(path, O_RDONLY | O_CLOEXEC); /* O_NOATIME is the owner's alone */
    if (fd < 0)
        return -1;
    sha256_start(&s);
    while ((n = read(fd, buffer, sizeof buffer)) > 0)
        sha256_add(&s, buffer, n);
    close(fd);
    if (n < 0)
        return -1;
    sha256_hex(&s, out);
    return 0;
}

/* ----------------------------------------------------------------------------- frames */

static void write_all(int fd, const void *data, size_t n)
{
    const char *p = data;
    while (n) {
        ssize_t done = write(fd, p, n);
        if (done < 0 && (errno == EINTR || errno == EAGAIN)) {
            struct pollfd wait = {fd, POLLOUT, 0};
            poll(&wait, 1, -1);
            continue;
        }
        if (done <= 0) { /* nobody listens any more: the box has no purpose left */
            if (is_init)
                power_off();
            _exit(0);
        }
        p += done;
        n -= done;
    }
}

static void send_frame(const char type[4], const void *payload, uint32_t n)
{
    uint8_t head[8];
    memcpy(head, type, 4);
    for (int i = 0; i < 4; i++)
        head[4 + i] = n >> (8 * i);
    write_all(channel, head, 8);
    write_all(channel, payload, n);
}

static void send_text(const char type[4], const char *format, ...)
{
    char text[8192];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n >= (int)sizeof text)
        n = sizeof text - 1;
    send_frame(type, text, n);
}

/* Reads exactly n bytes; 0 when the other side has gone. */
static int read_all(void *data, size_t n)
{
    char *p = data;
    while (n) {
        ssize_t got = read(channel, p, n);
        if (got < 0 && (errno == EINTR || errno == EAGAIN)) {
            struct pollfd wait = {channel, POLLIN, 0};
            poll(&wait, 1, -1);
            continue;
        }
        if (got <= 0)
            return 0;
        p += got;
        n -= got;
    }
    return 1;
}

/* A buffer that sends itself as frames of one type when it is full. */
static char stream_buffer[CHUNK];
static size_t stream_used;
static int stream_fd = -1; /* >= 0: plain text to a descriptor instead of frames */

static void stream_flush(void)
{
    if (stream_fd >= 0)
        write_all(stream_fd, stream_buffer, stream_used);
    else if (stream_used)
        send_frame("MANI", stream_buffer, stream_used);
    stream_used = 0;
}

static void stream_put(const char *p, size_t n)
{
    while (n) {
        size_t room = CHUNK - stream_used, take = n < room ? n : room;
        memcpy(stream_buffer + stream_used, p, take);
        stream_used += take;
        p += take;
        n -= take;
        if (stream_used == CHUNK)
            stream_flush();
    }
}

/* ---------------------------------------------------------------------------- manifest */

static char **excludes;
static int exclude_count;
static size_t root_length;

static int excluded(const char *inside)
{
    for (int i = 0; i < exclude_count; i++)
        if (!strcmp(excludes[i], inside))
            return 1;
    return 0;
}

/* Control characters and the backslash as \xNN: one path stays one line. */
static void put_escaped(const char *text)
{
    char hex[5];
    for (; *text; text++) {
        unsigned char c = *text;
        if (c < 32 || c == 127 || c == '\\') {
            snprintf(hex, sizeof hex, "\\x%02x", c);
            stream_put(hex, 4);
        } else
            stream_put(text, 1);
    }
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void manifest_entry(const char *path, const struct stat *s)
{
    char head[128], content[PATH_MAX];
    put_escaped(path + root_length);
    long long size = S_ISREG(s->st_mode) ? (long long)s->st_size : 0;
    if (S_ISCHR(s->st_mode) || S_ISBLK(s->st_mode))
        size = (long long)major(s->st_rdev) << 32 | minor(s->st_rdev);
    stream_put(head, sprintf(head, "\t%o\t%u:%u\t%lld\t", s->st_mode, s->st_uid, s->st_gid, size));
    if (S_ISREG(s->st_mode)) {
        if (hash_file(path, content))
            strcpy(content, "unreadable");
        stream_put(content, strlen(content));
    } else if (S_ISLNK(s->st_mode)) {
        ssize_t n = readlink(path, content, sizeof content - 1);
        content[n < 0 ? 0 : n] = 0;
        stream_put("->", 2);
        put_escaped(content);
    } else
        stream_put("-", 1);
    stream_put("\n", 1);
}

static void manifest_walk(const char *directory)
{
    struct dirent **names;
    char path[PATH_MAX];
    int n = scandir(*directory ? directory : "/", &names, NULL, by_bytes); /* "" is the root */
    for (int i = 0; i < n; i++) {
        const char *name = names[i]->d_name;
        struct stat s;
        int fits = snprintf(path, sizeof path, "%s/%s", directory, name) < (int)sizeof path;
        if (fits && strcmp(name, ".") && strcmp(name, "..") && !excluded(path + root_length)
            && !lstat(path, &s)) {
            manifest_entry(path, &s);
            if (S_ISDIR(s.st_mode))
                manifest_walk(path);
        }
        free(names[i]);
    }
    if (n >= 0)
        free(names);
}

static void manifest(const char *root, char **skip, int count)
{
    char clean[PATH_MAX];
    snprintf(clean, sizeof clean, "%s", root);
    for (size_t n = strlen(clean); n && clean[n - 1] == '/'; n--)
        clean[n - 1] = 0;
    excludes = skip;
    exclude_count = count;
    root_length = strlen(clean);
    stream_used = 0;
    manifest_walk(clean);
    stream_flush();
}

/* ------------------------------------------------------------------ strings of a request */

struct strings {
    char **at;
    int count;
};

/* A payload of NUL-terminated strings as an array, with NULL behind the last. */
static struct strings split(char *payload, uint32_t n)
{
    struct strings s = {NULL, 0};
    for (uint32_t i = 0; i < n; i++)
        s.count += payload[i] == 0;
    s.at = calloc(s.count + 1, sizeof *s.at);
    if (!s.at)
        die("calloc");
    char *p = payload;
    for (int i = 0; i < s.count; i++) {
        s.at[i] = p;
        p += strlen(p) + 1;
    }
    return s;
}

static void send_hashes(char *payload, uint32_t n)
{
    struct strings s = split(payload, n);
    char hex[65];
    for (int i = 0; i < s.count; i++) {
        if (hash_file(s.at[i], hex))
            snprintf(hex, sizeof hex, "-%s", strerror(errno));
        send_text("HASH", "%s\t%s", s.at[i], hex);
    }
    send_frame("HEND", "", 0);
    free(s.at);
}

/* -------------------------------------------------------------------- the view from inside */

static void send_file(const char *key, const char *path)
{
    char text[4000];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n < 0)
        return;
    text[n] = 0;
    send_text("FACT", "%s=%s", key, text);
}

static void send_facts(void)
{
    static const char *files[][2] = {
        {"meminfo", "/proc/meminfo"},
        {"self.cgroup", "/proc/self/cgroup"},
        {"uptime", "/proc/uptime"},
        {"v1.memory.limit", "/sys/fs/cgroup/memory/memory.limit_in_bytes"},
        {"v1.cpu.quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"},
        {"v1.cpu.period_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"},
        {"v1.pids.max", "/sys/fs/cgroup/pids/pids.max"},
        {"v2.memory.max", "/sys/fs/cgroup/memory.max"},
        {"v2.cpu.max", "/sys/fs/cgroup/cpu.max"},
        {"v2.pids.max", "/sys/fs/cgroup/pids.max"},
    };
    struct utsname u;
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    sched_getaffinity(0, sizeof cpus, &cpus);
    if (!uname(&u))
        send_text("FACT", "kernel=%s %s %s", u.sysname, u.release, u.version);
    send_text("FACT", "cpus=%d", CPU_COUNT(&cpus));
    send_text("FACT", "pid=%d", (int)getpid());
    send_text("FACT", "uid=%d", (int)getuid());
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        send_file(files[i][0], files[i][1]);
    send_frame("FEND", "", 0);
}

/* -------------------------------------------------------------------------------- jobs */

struct job {
    uid_t uid;
    gid_t gid;
    int64_t timeout_ns;
    int trace;
    char **argv, **env;
    int in;          /* standard input; 0 is none */
    const char *cwd; /* NULL is the root */
};

static void kill_descendants(void)
{
    /* We are the subreaper: whoever forked away is our child by now, or will be. */
    for (int round = 0; round < 1000; round++) {
        char path[64], text[4096];
        snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
        if (fd >= 0)
            close(fd);
        if (fd < 0 && getpid() == 1) { /* the list is not always built in */
            kill(-1, SIGKILL);         /* PID 1 is spared */
            if (waitpid(-1, NULL, 0) < 0)
                return;
            continue;
        }
        if (n <= 0 && waitpid(-1, NULL, WNOHANG) <= 0)
            return;
        text[n > 0 ? n : 0] = 0;
        for (char *p = strtok(text, " "); p; p = strtok(NULL, " "))
            kill(atoi(p), SIGKILL);
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
        if (n > 0)
            waitpid(-1, NULL, 0);
    }
}

static void exec_job(const struct job *job, pid_t agent, int out, int err, int fail)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    setsid();
    int null = open("/dev/null", O_RDWR);
    if (null < 0) { /* a bare chroot may have no /dev: an empty pipe reads as end-of-file too */
        int empty[2];
        if (pipe(empty))
            _exit(127);
        close(empty[1]);
        null = empty[0];
    }
    dup2(job->in > 0 ? job->in : null, 0);
    dup2(out, 1);
    dup2(err, 2);
    if (null > 2)
        close(null);
    if (getuid() == 0 && (setgroups(0, NULL) || setgid(job->gid) || setuid(job->uid)))
        goto failed;
    /* After the change of user, which would clear it: no job outlives a killed agent. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL))
        goto failed;
    if (getppid() != agent)
        _exit(127);
    if (chdir(job->cwd ? job->cwd : "/"))
        goto failed;
    if (job->trace) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
    }
    execve(job->argv[0], job->argv, job->env);
failed:;
    int number = errno;
    if (write(fail, &number, sizeof number)) {
        /* nothing more can be done */
    }
    _exit(127);
}

/* --- the audit of an unmeasured bare-metal job: every file it opened or mapped --- */

static void report_link(pid_t pid, const char *what)
{
    char link[64], target[PATH_MAX];
    snprintf(link, sizeof link, "/proc/%d/%s", (int)pid, what);
    ssize_t n = readlink(link, target, sizeof target - 1);
    if (n > 0)
        send_frame("OPEN", target, n);
}

static void report_maps(pid_t pid)
{
    char path[64], line[PATH_MAX + 128];
    snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    FILE *maps = fopen(path, "re");
    if (!maps)
        return;
    while (fgets(line, sizeof line, maps)) {
        char *file = strchr(line, '/');
        if (file) {
            file[strcspn(file, "\n")] = 0;
            send_frame("OPEN", file, strlen(file));
        }
    }
    fclose(maps);
}

static void trace_syscall(pid_t pid)
{
    struct __ptrace_syscall_info info;
    static __thread struct { pid_t pid; long number; } last[256];
    if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info) <= 0)
        return;
    long *number = NULL;
    for (int i = 0; i < 256 && !number; i++) {
        int slot = (pid + i) % 256;
        if (last[slot].pid == pid || !last[slot].pid) {
            last[slot].pid = pid;
            number = &last[slot].number;
        }
    }
    if (!number)
        return;
    if (info.op == PTRACE_SYSCALL_INFO_ENTRY)
        *number = (long)info.entry.nr;
    else if (info.op == PTRACE_SYSCALL_INFO_EXIT && !info.exit.is_error
             && (*number == SYS_openat || *number == SYS_openat2
#ifdef SYS_open
                 || *number == SYS_open || *number == SYS_creat
#endif
                     )) {
        char what[32];
        snprintf(what, sizeof what, "fd/%d", (int)info.exit.rval);
        report_link(pid, what);
    }
}

/* Called for each stop of a traced process; lets it go on. */
static void trace_step(pid_t pid, int status)
{
    int number = WSTOPSIG(status), event = status >> 16, deliver = 0;
    if (number == (SIGTRAP | 0x80))
        trace_syscall(pid);
    else if (event == PTRACE_EVENT_EXEC)
        report_maps(pid);
    else if (!event && number != SIGSTOP && number != SIGTRAP)
        deliver = number;
    ptrace(PTRACE_SYSCALL, pid, 0, deliver);
}

static void trace_start(pid_t pid)
{
    waitpid(pid, NULL, __WALL);
    ptrace(PTRACE_SETOPTIONS, pid, 0,
           PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK
               | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL);
    ptrace(PTRACE_SYSCALL, pid, 0, 0);
}

/* Sends what a pipe holds; returns 0 at its end. */
static int forward(int fd, const char type[4])
{
    static char buffer[CHUNK];
    ssize_t n = read(fd, buffer, sizeof buffer);
    if (n > 0)
        send_frame(type, buffer, n);
    return n > 0 || (n < 0 && errno == EINTR);
}

/* A descriptor that tells of the job's end. Where there are no pidfds (gVisor, kernels before
 * 5.3) it tells of any child's, once too often at first: it may have ended before we looked. */
static int open_end(pid_t pid)
{
    int fd = syscall(SYS_pidfd_open, pid, 0);
    if (fd >= 0)
        return fd;
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    fd = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    raise(SIGCHLD);
    return fd;
}

/* Passes output on until the job has ended or its time is over; returns 1 on a timeout. */
static int attend(const struct job *job, pid_t pid, int ending, int out, int err, int *status,
                  struct rusage *usage)
{
    int64_t end = now_ns() + job->timeout_ns;
    struct pollfd at[4] = {{out, POLLIN, 0}, {err, POLLIN, 0}, {ending, POLLIN, 0}, {channel, 0, 0}};
    struct signalfd_siginfo told;
    for (;;) {
        int64_t left = end - now_ns();
        if (left <= 0)
            return 1;
        int wait_ms = job->trace ? 5 : (int)(left / 1000000 + 1);
        poll(at, 4, wait_ms);
        if (at[3].revents & (POLLHUP | POLLERR)) { /* the host has gone: so must the job */
            kill(-pid, SIGKILL);
            kill_descendants();
            if (is_init)
                power_off();
            _exit(0);
        }
        if (at[0].revents && !forward(out, "OUT1"))
            at[0].fd = -1;
        if (at[1].revents && !forward(err, "OUT2"))
            at[1].fd = -1;
        if (job->trace) {
            int s;
            pid_t p;
            while ((p = wait4(-1, &s, __WALL | WNOHANG, usage)) > 0) {
                if (WIFSTOPPED(s))
                    trace_step(p, s);
                else if (p == pid) {
                    *status = s;
                    return 0;
                }
            }
        } else if (at[2].revents) {
            while (read(ending, &told, sizeof told) > 0)
                ;
            if (wait4(pid, status, WNOHANG, usage) == pid)
                return 0;
        }
    }
}

static void run_job(const struct job *job)
{
    int out[2], err[2], fail[2], number = 0, status = 0;
    struct rusage usage = {0};
    if (pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC) || pipe2(fail, O_CLOEXEC))
        die("pipe2");
    pid_t agent = getpid(), pid = fork();
    if (pid == 0)
        exec_job(job, agent, out[1], err[1], fail[1]);
    number = errno;
    close(out[1]);
    close(err[1]);
    close(fail[1]);
    if (pid < 0) {
        send_text("FAIL", "fork: %s", strerror(number));
        goto ended;
    }
    if (job->trace)
        trace_start(pid);
    else if (read(fail[0], &number, sizeof number) == sizeof number) {
        waitpid(pid, NULL, 0);
        send_text("FAIL", "%s: %s", job->argv[0], strerror(number));
        goto ended;
    }
    /* The job's own clock starts where the host's stamp does: its program has been exec'd. */
    int64_t start = now_ns();
    send_frame("STRT", "", 0);
    int ending = open_end(pid);
    fcntl(out[0], F_SETFL, O_NONBLOCK);
    fcntl(err[0], F_SETFL, O_NONBLOCK);
    int timed_out = attend(job, pid, ending, out[0], err[0], &status, &usage);
    int64_t duration = now_ns() - start;
    if (timed_out) {
        kill(-pid, SIGKILL);
        kill(pid, SIGKILL);
        wait4(pid, &status, __WALL, &usage);
    }
    if (ending >= 0)
        close(ending);
    /* Nobody is left to write once those who forked away are dead, so the pipes have an end. */
    kill_descendants();
    while (forward(out[0], "OUT1"))
        ;
    while (forward(err[0], "OUT2"))
        ;
    send_text("DONE", "status=%d\nsignal=%d\ntimed_out=%d\ncpu_ns=%lld\nduration_ns=%lld",
              WIFEXITED(status) ? WEXITSTATUS(status) : -1, WIFSIGNALED(status) ? WTERMSIG(status) : 0,
              timed_out,
              (long long)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * NS
                  + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000LL,
              (long long)duration);
ended:
    close(out[0]);
    close(err[0]);
    close(fail[0]);
}

static void end_service(void);

/* JOB payload: strings uid, gid, timeout_ns, trace, argc, argv…, env… */
static void take_job(char *payload, uint32_t n)
{
    struct strings s = split(payload, n);
    int argc = s.count >= 5 ? atoi(s.at[4]) : 0;
    if (argc < 1 || argc > s.count - 5) {
        send_text("FAIL", "the job's message is malformed");
        free(s.at);
        return;
    }
    char **argv = calloc(argc + 1, sizeof *argv);
    if (!argv)
        die("calloc");
    memcpy(argv, s.at + 5, argc * sizeof *argv);
    struct job job = {
        .uid = strtoul(s.at[0], NULL, 10), .gid = strtoul(s.at[1], NULL, 10),
        .timeout_ns = strtoll(s.at[2], NULL, 10), .trace = atoi(s.at[3]),
        .argv = argv, .env = s.at + 5 + argc,
    };
    end_service();
    run_job(&job);
    free(argv);
    free(s.at);
}

/* ------------------------------------------------------------------------------ services */

/* A job that stays: started, asked until it answers, and killed with the box. Nothing tells
 * that a service listens, so connecting is tried again and again; how often is declared, and
 * goes back to the host with the count. A later JOB would end the service: whoever forked away
 * from a job is killed, and we cannot tell the two apart. */
static pid_t service_pid = -1;

static void kill_service(void)
{
    kill(-service_pid, SIGKILL);
    kill(service_pid, SIGKILL);
}

static void end_service(void)
{
    if (service_pid > 0) {
        kill_service();
        waitpid(service_pid, NULL, __WALL);
    }
    service_pid = -1;
}

/* A traced service's threads are ours to collect before its first one can be. */
static void end_traced_service(void)
{
    if (service_pid > 0) {
        kill_service();
        for (pid_t p = 0; p >= 0 && p != service_pid;)
            p = waitpid(-1, NULL, __WALL);
    }
    service_pid = -1;
}

/* A file in memory for a service's input or output: it never fills up like a pipe. */
static int memory_file(const char *content)
{
    int fd = memfd_create("service", MFD_CLOEXEC);
    if (fd < 0)
        die("memfd_create");
    write_all(fd, content, strlen(content));
    lseek(fd, 0, SEEK_SET);
    return fd;
}

/* The socket is named relative to the working directory: its path may be longer than fits. */
static int ask_once(const char *cwd, const char *name, const char *request)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (strlen(name) >= sizeof to.sun_path || chdir(cwd))
        return -1;
    strcpy(to.sun_path, name);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int failed = fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) ? errno : 0;
    if (chdir("/"))
        die("/");
    if (failed) {
        if (fd >= 0)
            close(fd);
        errno = failed;
        return -1;
    }
    send(fd, request, strlen(request), MSG_NOSIGNAL);
    return fd;
}

/* Why a service gave no answer: how it ended, if it did, and the end of what it printed. */
static void service_failed(const char *why, int status, int said)
{
    char text[1024];
    off_t size = lseek(said, 0, SEEK_END);
    ssize_t n = pread(said, text, sizeof text - 1, size > 1023 ? size - 1023 : 0);
    text[n > 0 ? n : 0] = 0;
    if (WIFSIGNALED(status))
        send_text("FAIL", "the service %s: signal %d: %s", why, WTERMSIG(status), text);
    else if (status >= 0)
        send_text("FAIL", "the service %s: exit status %d: %s", why, WEXITSTATUS(status), text);
    else
        send_text("FAIL", "the service %s: %s", why, n > 0 ? text : "it said nothing");
}

/* Whether the service has ended; one that is traced goes on from its stops here. */
static int service_ended(const struct job *job, int *status)
{
    pid_t p;
    while ((p = waitpid(job->trace ? -1 : service_pid, status, __WALL | WNOHANG)) > 0) {
        if (WIFSTOPPED(*status))
            trace_step(p, *status);
        else if (p == service_pid) {
            service_pid = -1;
            return 1;
        }
    }
    return 0;
}

/* Asks until the answer begins as it must; returns the number of tries, or -1. */
static int64_t ask(const struct job *job, const char *const *at, int64_t poll_ns, int said)
{
    const char *name = at[0], *request = at[1], *answer = at[2];
    struct timespec pause = {poll_ns / NS, poll_ns % NS};
    int64_t end = now_ns() + job->timeout_ns;
    size_t wanted = strlen(answer), got = 0;
    char heard[4096];
    int fd = -1, status = -1;
    for (int64_t tries = 1;;) {
        if (service_ended(job, &status)) {
            service_failed("ended before it answered", status, said);
            break;
        }
        if (now_ns() > end) {
            service_failed("did not answer in time", -1, said);
            break;
        }
        if (fd < 0 && (fd = ask_once(job->cwd, name, request)) < 0) {
            nanosleep(&pause, NULL);
            tries++;
            continue;
        }
        /* Connected: the answer is waited for as an event, but for a traced one. */
        struct pollfd wait = {fd, POLLIN, 0};
        if (poll(&wait, 1, job->trace ? 5 : 100) <= 0)
            continue;
        ssize_t n = read(fd, heard + got, sizeof heard - got);
        got += n > 0 ? n : 0;
        if (got >= wanted && !memcmp(heard, answer, wanted)) {
            close(fd);
            return tries;
        }
        if (n <= 0 || memcmp(heard, answer, got < wanted ? got : wanted)) {
            heard[got < 200 ? got : 200] = 0;
            send_text("FAIL", "the service answered something else: %s", heard);
            break;
        }
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

static void serve_job(const struct job *job, const char *const *at, int64_t poll_ns)
{
    int fail[2], number = 0, said = memory_file("");
    if (pipe2(fail, O_CLOEXEC))
        die("pipe2");
    end_service();
    pid_t agent = getpid(), pid = fork();
    if (pid == 0)
        exec_job(job, agent, said, said, fail[1]);
    number = errno;
    close(fail[1]);
    service_pid = pid;
    if (pid < 0)
        send_text("FAIL", "fork: %s", strerror(number));
    else {
        if (job->trace)
            trace_start(pid);
        if (!job->trace && read(fail[0], &number, sizeof number) == sizeof number) {
            end_service();
            send_text("FAIL", "%s: %s", job->argv[0], strerror(number));
        } else {
            send_frame("STRT", "", 0);
            int64_t tries = ask(job, at, poll_ns, said);
            if (job->trace)
                end_traced_service();
            else if (tries < 0)
                end_service();
            if (tries >= 0)
                send_text("SRVD", "tries=%lld\npoll_ns=%lld", (long long)tries, (long long)poll_ns);
        }
    }
    close(fail[0]);
    close(said);
}

/* SERV payload: strings uid, gid, timeout_ns, trace, poll_ns, cwd, socket, request, answer,
 * input, argc, argv…, env… */
static void take_service(char *payload, uint32_t n)
{
    enum { FIRST = 11 };
    struct strings s = split(payload, n);
    int argc = s.count >= FIRST ? atoi(s.at[FIRST - 1]) : 0;
    char **argv = calloc(argc > 0 ? argc + 1 : 1, sizeof *argv);
    if (!argv)
        die("calloc");
    if (argc < 1 || argc > s.count - FIRST)
        send_text("FAIL", "the service's message is malformed");
    else {
        memcpy(argv, s.at + FIRST, argc * sizeof *argv);
        struct job job = {
            .uid = strtoul(s.at[0], NULL, 10), .gid = strtoul(s.at[1], NULL, 10),
            .timeout_ns = strtoll(s.at[2], NULL, 10), .trace = atoi(s.at[3]),
            .argv = argv, .env = s.at + FIRST + argc, .cwd = s.at[5], .in = memory_file(s.at[9]),
        };
        serve_job(&job, (const char *const *)(s.at + 6), strtoll(s.at[4], NULL, 10));
        close(job.in);
    }
    free(argv);
    free(s.at);
}

/* ------------------------------------------------------- memory that is held, files that are */

/* Takes files out of this kernel's page cache, as far as nobody maps them or writes to them. */
static void drop_cached(char *payload, uint32_t n)
{
    struct strings s = split(payload, n);
    int failed = 0;
    for (int i = 0; i < s.count && !failed; i++) {
        int fd = open(s.at[i], O_RDONLY | O_CLOEXEC);
        failed = fd < 0 ? errno : posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        if (fd >= 0)
            close(fd);
        if (failed)
            send_text("FAIL", "%s: %s", s.at[i], strerror(failed));
    }
    if (!failed)
        send_frame("DEND", "", 0);
    free(s.at);
}

/* Anonymous memory held on request; this lies at the beginning of each mapping. */
struct held {
    struct held *next;
    size_t bytes;
};

static struct held *held;
static uint64_t held_bytes;

static void send_held(void) { send_text("HELD", "held=%llu", (unsigned long long)held_bytes); }

/*
 * Holds so many bytes more, each word of each page written. The words are those of splitmix64
 * (Steele, Lea, Flood 2014), so that no two pages are alike, within a box or between boxes of
 * other seeds: nothing can be merged, compressed or shared as a page of zeros.
 */
static void touch(uint64_t bytes, uint64_t seed)
{
    uint64_t page = sysconf(_SC_PAGESIZE), mixed;
    bytes = (bytes + page - 1) / page * page;
    struct held *more = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (more == MAP_FAILED) {
        send_text("FAIL", "%llu bytes: %s", (unsigned long long)bytes, strerror(errno));
        return;
    }
    uint64_t *word = (uint64_t *)more, *end = word + bytes / sizeof *word;
    for (; word < end; word++) {
        mixed = seed += 0x9e3779b97f4a7c15;
        mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9;
        mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111eb;
        *word = mixed ^ mixed >> 31;
    }
    *more = (struct held){held, bytes};
    held = more;
    held_bytes += bytes;
    send_held();
}

static void release(void)
{
    while (held) {
        struct held *next = held->next;
        held_bytes -= held->bytes;
        munmap(held, held->bytes);
        held = next;
    }
    send_held();
}

/* TUCH payload: strings size, seed */
static void take_touch(char *payload, uint32_t n)
{
    struct strings s = split(payload, n);
    uint64_t bytes = s.count == 2 ? strtoull(s.at[0], NULL, 10) : 0;
    if (!bytes || bytes > UINT64_MAX / 2)
        send_text("FAIL", "the request to hold memory is malformed");
    else
        touch(bytes, strtoull(s.at[1], NULL, 10));
    free(s.at);
}

/* ------------------------------------------------------------------------------- serving */

static void answer_ping(const char *payload, uint32_t n)
{
    char echo[64];
    int64_t ns = now_ns();
    if (n > sizeof echo - 8)
        n = sizeof echo - 8;
    memcpy(echo, payload, n);
    memcpy(echo + n, &ns, 8);
    send_frame("PONG", echo, n + 8);
}

/*
 * One request to the service, on a connection of its own, and an answer that echoes the stamp as
 * a pong does. One that stays without its answer is not echoed; one that is refused or answered
 * otherwise fails, for then there is no service.
 * RQST payload: a stamp of 8 bytes, then strings timeout_ns, cwd, socket, request, answer
 */
static void take_request(char *payload, uint32_t n)
{
    struct strings s = n > 8 ? split(payload + 8, n - 8) : (struct strings){0};
    char heard[4096];
    if (s.count != 5)
        send_text("FAIL", "the request to the service is malformed");
    else {
        int64_t end = now_ns() + strtoll(s.at[0], NULL, 10), left_ns;
        size_t wanted = strlen(s.at[4]), got = 0;
        int fd = ask_once(s.at[1], s.at[2], s.at[3]);
        int refused = fd < 0, asked_errno = errno;
        while (!refused && got < wanted && (left_ns = end - now_ns()) > 0) {
            struct pollfd wait = {fd, POLLIN, 0};
            if (poll(&wait, 1, left_ns / (NS / 1000) + 1) <= 0)
                continue;
            ssize_t more = read(fd, heard + got, sizeof heard - 1 - got);
            got += more > 0 ? more : 0;
            refused = more <= 0 || memcmp(heard, s.at[4], got < wanted ? got : wanted);
        }
        heard[got < 200 ? got : 200] = 0;
        if (fd < 0)
            send_text("FAIL", "the service does not listen: %s", strerror(asked_errno));
        else if (refused)
            send_text("FAIL", "the service answered something else: %s", heard);
        else if (got >= wanted)
            answer_ping(payload, 8);
        if (fd >= 0)
            close(fd);
    }
    free(s.at);
}

static void serve(int64_t first_ns)
{
    uint8_t head[8];
    send_text("HELO", "pid=%d\ninit_ns=%lld", (int)getpid(), (long long)first_ns);
    while (read_all(head, 8)) {
        uint32_t n = head[4] | head[5] << 8 | head[6] << 16 | (uint32_t)head[7] << 24;
        if (n > MAX_REQUEST)
            break;
        char *payload = malloc(n + 1);
        if (!payload)
            die("malloc");
        if (!read_all(payload, n)) {
            free(payload);
            break;
        }
        payload[n] = 0;
        if (!memcmp(head, "PING", 4))
            answer_ping(payload, n);
        else if (!memcmp(head, "JOB ", 4))
            take_job(payload, n);
        else if (!memcmp(head, "SERV", 4))
            take_service(payload, n);
        else if (!memcmp(head, "RQST", 4))
            take_request(payload, n);
        else if (!memcmp(head, "MANI", 4)) {
            struct strings s = split(payload, n);
            if (s.count)
                manifest(s.at[0], s.at + 1, s.count - 1);
            send_frame("MEND", "", 0);
            free(s.at);
        } else if (!memcmp(head, "HASH", 4))
            send_hashes(payload, n);
        else if (!memcmp(head, "DROP", 4))
            drop_cached(payload, n);
        else if (!memcmp(head, "TUCH", 4))
            take_touch(payload, n);
        else if (!memcmp(head, "RELS", 4))
            release();
        else if (!memcmp(head, "FACT", 4))
            send_facts();
        else if (!memcmp(head, "EXIT", 4)) {
            free(payload);
            break;
        } else
            send_text("FAIL", "unknown request %.4s", (char *)head);
        free(payload);
        if (getpid() == 1)
            while (waitpid(-1, NULL, WNOHANG) > 0)
                ;
    }
}

static int connect_unix(const char *path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof to.sun_path) {
        errno = ENAMETOOLONG;
        die(path);
    }
    strcpy(to.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to))
        die(path);
    return fd;
}

/* ---------------------------------------------------------------------------- in a guest */

static int find_port(const char *name)
{
    struct dirent *entry;
    char path[300], text[256];
    int fd = -1;
    DIR *ports = opendir("/sys/class/virtio-ports");
    while (ports && fd < 0 && (entry = readdir(ports))) {
        snprintf(path, sizeof path, "/sys/class/virtio-ports/%.200s/name", entry->d_name);
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file < 0)
            continue;
        ssize_t n = read(file, text, sizeof text - 1);
        close(file);
        text[n > 0 ? n : 0] = 0;
        text[strcspn(text, "\n")] = 0;
        if (strcmp(text, name))
            continue;
        snprintf(path, sizeof path, "/dev/%.200s", entry->d_name);
        fd = open(path, O_RDWR | O_CLOEXEC);
    }
    if (ports)
        closedir(ports);
    return fd;
}

/* What `find` opens, as soon as it is there: the kernel tells of each new device by a uevent, and
 * we listen before we look. */
static int await_device(int (*find)(const char *), const char *name)
{
    struct sockaddr_nl group = {.nl_family = AF_NETLINK, .nl_groups = 1};
    char event[8192];
    int events = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
    if (events < 0 || bind(events, (struct sockaddr *)&group, sizeof group))
        die("uevents");
    for (;;) {
        int fd = find(name);
        if (fd >= 0) {
            close(events);
            return fd;
        }
        struct pollfd wait = {events, POLLIN, 0};
        if (poll(&wait, 1, 1000) > 0 && recv(events, event, sizeof event, 0) < 0 && errno != ENOBUFS)
            die("uevents");
    }
}

static int find_file(const char *path)
{
    return open(path, O_RDONLY | O_CLOEXEC);
}

/* A terminal that passes every byte on as it is. */
static int find_tty(const char *path)
{
    struct termios how;
    int fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return fd;
    if (tcgetattr(fd, &how))
        die(path);
    cfmakeraw(&how);
    if (tcsetattr(fd, TCSANOW, &how))
        die(path);
    return fd;
}

static void load_modules(const char *names)
{
    char line[PATH_MAX];
    FILE *list = fopen(names, "re");
    while (list && fgets(line, sizeof line, list)) {
        line[strcspn(line, "\n")] = 0;
        int fd = open(line, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST))
            fprintf(stderr, "tarebench agent: module %s: %s\n", line, strerror(errno));
        if (fd >= 0)
            close(fd);
    }
    if (list)
        fclose(list);
}

/* The rest of the words' first that begins so, or NULL. */
static const char *word_of(char **argv, const char *prefix)
{
    for (; *argv; argv++)
        if (!strncmp(*argv, prefix, strlen(prefix)))
            return *argv + strlen(prefix);
    return NULL;
}

#define NEW_ROOT "/root" /* where it is mounted until it becomes "/" */

static int mount_root(const char *device)
{
    return mount(device, NEW_ROOT, "ext4", MS_NOATIME, NULL);
}

/* A disk that is not ours: its first file system, or that of its first partition, that holds a
 * system. Which partition that is differs from distribution to distribution. */
static int mount_within(const char *disk)
{
    char device[PATH_MAX];
    for (int i = 0; i <= 16; i++) {
        snprintf(device, sizeof device, "%s", disk);
        if (i)
            snprintf(device, sizeof device, "%s%d", disk, i);
        if (access(device, F_OK) || mount_root(device))
            continue;
        if (!access(NEW_ROOT "/usr/bin", F_OK) && !access(NEW_ROOT "/etc/passwd", F_OK))
            return 0;
        umount(NEW_ROOT);
    }
    errno = ENOENT;
    return -1;
}

/* Mount the root as soon as its disk is there. */
static void bring_up_root(char **argv)
{
    const char *within = word_of(argv, "within:"), *root = word_of(argv, "root:");
    const char *disk = within ? within : root ? root : "/dev/vda";
    close(await_device(find_file, disk));
    if (within ? mount_within(disk) : mount_root(disk))
        die(disk);
}

/* In an instrumented boot, a byte on the port that the word `sign:PORT` names: init is here. */
static void give_sign(char **argv)
{
#if defined(__x86_64__)
    const char *word = word_of(argv, "sign:");
    unsigned long port = word ? strtoul(word, NULL, 0) : 0;
    if (port && port <= 0xffff && !ioperm(port, 1, 1)) {
        outb(1, port);
        ioperm(port, 1, 0);
    }
#else
    (void)argv;
#endif
}

/* /init of the initramfs: bring up the disk, make it the root, become the image's agent. */
static void switch_root(char **argv)
{
    static const char *const move[] = {"/dev", "/proc", "/sys"};
    char to[64];
    is_init = 1;
    give_sign(argv);
    if (mount("dev", "/dev", "devtmpfs", 0, NULL) || mount("proc", "/proc", "proc", 0, NULL)
        || mount("sys", "/sys", "sysfs", 0, NULL))
        die("mount");
    load_modules("/modules");
    for (char **word = argv; *word; word++) { /* drivers that not every guest is to pay for */
        snprintf(to, sizeof to, "/modules-%s", *word);
        load_modules(to);
    }
    bring_up_root(argv);
    int self = open("/init", O_RDONLY | O_CLOEXEC);
    for (int i = 0; i < 3; i++) {
        snprintf(to, sizeof to, NEW_ROOT "%s", move[i]);
        if (mount(move[i], to, NULL, MS_MOVE, NULL))
            die(to);
    }
    if (chdir(NEW_ROOT) || mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/"))
        die("switch root");
    mount("run", "/run", "tmpfs", 0, "mode=755");
    mount("tmp", "/tmp", "tmpfs", 0, "mode=1777");
    argv[0] = "/usr/lib/tarebench/agent";
    if (word_of(argv, "within:")) /* a system that does not hold the agent: the initramfs's goes on */
        fexecve(self, argv, environ);
    execv(argv[0], argv);
    die(argv[0]);
}

static void join_cgroup(const char *descriptor)
{
    int fd = atoi(descriptor);
    if (write(fd, "0", 1) != 1)
        die("joining the cgroup");
    close(fd);
}

static int isolation(int argc, char **argv); /* isolation.c, compiled behind this file */

int main(int argc, char **argv)
{
    int64_t first_ns = now_ns();
    if (argc > 0 && !strcmp(argv[0], "/init") && getpid() == 1)
        switch_root(argv);
    if (argc >= 3 && !strcmp(argv[1], "--manifest")) {
        stream_fd = 1;
        manifest(argv[2], argv + 3, argc - 3);
        return 0;
    }
    if (argc >= 3 && !strcmp(argv[1], "--isolation"))
        return isolation(argc - 2, argv + 2);
    if (argc == 2 && !strcmp(argv[1], "--version")) {
        puts("tarebench agent, protocol 1");
        return 0;
    }
    /* A kernel passes words that it does not know on to PID 1, so ours may not be the first. */
    const char *where = NULL;
    for (int i = 1; i < argc && !where; i++)
        if (!strncmp(argv[i], "virtio:", 7) || !strncmp(argv[i], "unix:", 5)
            || !strncmp(argv[i], "tty:", 4))
            where = argv[i];
    if (!where) {
        fprintf(stderr, "usage: agent unix:PATH [--cgroup-fd N]... | virtio:NAME | tty:DEVICE | --manifest ROOT\n");
        return 2;
    }
    for (int i = 1; i + 1 < argc; i++)
        if (!strcmp(argv[i], "--cgroup-fd"))
            join_cgroup(argv[i + 1]);
    signal(SIGPIPE, SIG_IGN);
    if (*where != 'u') {
        is_init = getpid() == 1;
        channel = *where == 'v' ? await_device(find_port, where + 7)
                                : await_device(find_tty, where + 4);
    } else
        channel = connect_unix(where + 5);
    send_frame("REDY", "", 0);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    serve(first_ns);
    end_service();
    kill_descendants();
    if (is_init)
        power_off();
    return 0;
}
