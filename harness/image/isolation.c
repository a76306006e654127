/*
 * The agent's probe of isolation: what a process in this box is, sees and may do.
 *
 * Compiled behind agent.c, into the same file, so that the probe is the same in every box and
 * proven as the agent is. It prints lines `name=value`, and `!name=why` where something cannot
 * be found out; what they mean beside the host is for harness/probes/isolation.py to say.
 *
 * Nothing that it asks for changes anything, here or on the host: each call that could is made
 * with an argument that the kernel refuses after it has looked at the caller's rights.
 *
 *   agent --isolation facts TOKEN PORT KEY MAJOR:MINOR PLACE...
 *   agent --isolation escape FILE PLACE     the classic way out of a chroot, to read one file
 *   agent --isolation bait TOKEN            on the host: things that no box should see
 */
#include <arpa/inet.h>
#include <ftw.h>
#include <linux/keyctl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/klog.h>
#include <sys/statvfs.h>
#include <sys/timex.h>

static const char *errname(int number)
{
    const char *name = strerrorname_np(number);
    return name ? name : "?";
}

/* A value is one line whatever it holds. */
static void tell(const char *name, const char *format, ...)
{
    char text[16384];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < 32 || *p == 127)
            *p = ' ';
    printf("%s=%s\n", name, text);
}

/* The whole of a small file, or NULL with errno. */
static char *content_of(const char *path)
{
    static char text[65536];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return NULL;
    size_t used = 0;
    ssize_t n;
    while (used < sizeof text - 1 && (n = read(fd, text + used, sizeof text - 1 - used)) > 0)
        used += n;
    int number = errno;
    close(fd);
    errno = number;
    text[used] = 0;
    return n < 0 ? NULL : text;
}

static void tell_file(const char *name, const char *path)
{
    char missing[64], *text = content_of(path);
    if (text && *text) {
        size_t n = strlen(text);
        if (text[n - 1] == '\n')
            text[n - 1] = 0;
        tell(name, "%s", text);
    } else {
        snprintf(missing, sizeof missing, "!%s", name);
        tell(missing, "%s: %s", path, text ? "empty" : errname(errno));
    }
}

/* --- what it is --- */

static void tell_kernel(void)
{
    struct utsname u;
    if (!uname(&u)) {
        tell("kernel.release", "%s", u.release);
        tell("kernel.build", "%s", u.version);
    }
    tell_file("kernel.version", "/proc/version");
    tell_file("kernel.boot", "/proc/sys/kernel/random/boot_id");
}

static void tell_namespaces(void)
{
    static const char *const names[] = {"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"};
    char name[32], path[64], target[128];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "/proc/self/ns/%s", names[i]);
        ssize_t n = readlink(path, target, sizeof target - 1);
        snprintf(name, sizeof name, "%sns.%s", n < 0 ? "!" : "", names[i]);
        target[n < 0 ? 0 : n] = 0;
        tell(name, "%s", n < 0 ? errname(errno) : target);
    }
}

/* Lines of /proc/self/status that begin with one of these words. */
static void tell_status(void)
{
    static const char *const wanted[][2] = {
        {"CapEff:", "caps.effective"}, {"CapBnd:", "caps.bounding"},
        {"Seccomp:", "seccomp"}, {"NoNewPrivs:", "no_new_privs"},
    };
    char *text = content_of("/proc/self/status"), missing[64];
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        char *at = text ? strstr(text, wanted[i][0]) : NULL, value[64] = "";
        if (at && sscanf(at + strlen(wanted[i][0]), "%63s", value) == 1)
            tell(wanted[i][1], "%s", value);
        else {
            snprintf(missing, sizeof missing, "!%s", wanted[i][1]);
            tell(missing, "/proc/self/status does not tell");
        }
    }
}

static void tell_self(void)
{
    tell("uid", "%d", (int)geteuid());
    tell_kernel();
    tell_namespaces();
    tell_status();
    tell_file("uid_map", "/proc/self/uid_map");
    tell_file("cgroup", "/proc/self/cgroup");
    tell_file("lsm", "/proc/self/attr/current");
}

/* --- what it sees --- */

static void see_processes(const char *token)
{
    struct dirent *entry;
    char path[300];
    int seen = 0, bait = 0;
    DIR *proc = opendir("/proc");
    if (!proc) {
        tell("!processes", "/proc: %s", errname(errno));
        return;
    }
    while ((entry = readdir(proc))) {
        if (*entry->d_name < '1' || *entry->d_name > '9')
            continue;
        seen++;
        snprintf(path, sizeof path, "/proc/%.200s/cmdline", entry->d_name);
        int fd = atoi(entry->d_name) == getpid() ? -1 : open(path, O_RDONLY | O_CLOEXEC);
        char line[4096];
        ssize_t n = fd < 0 ? 0 : read(fd, line, sizeof line);
        /* Our own line and the agent's hold the token too; the bait's says what it is. */
        bait |= n > 0 && memmem(line, n, "bait", 5) && memmem(line, n, token, strlen(token));
        if (fd >= 0)
            close(fd);
    }
    closedir(proc);
    tell("processes", "%d", seen);
    tell("processes.bait", "%d", bait);
}

/* access(2) asks a node's permissions and the device control group, and no driver. */
static int see_node(const char *path, const struct stat *s, int kind, struct FTW *place)
{
    struct statvfs system;
    (void)place;
    if (kind != FTW_F || !(S_ISCHR(s->st_mode) || S_ISBLK(s->st_mode)) || statvfs(path, &system))
        return 0;
    int closed = system.f_flag & ST_NODEV;
    tell("device", "%c%c %c %u:%u %s", !closed && !access(path, R_OK) ? 'r' : '-',
         !closed && !access(path, W_OK) ? 'w' : '-', S_ISBLK(s->st_mode) ? 'b' : 'c',
         major(s->st_rdev), minor(s->st_rdev), path);
    return 0;
}

static void see_devices(void)
{
    if (nftw("/dev", see_node, 16, FTW_PHYS))
        tell("!devices", "/dev: %s", errname(errno));
    else
        tell("devices", "listed");
}

static void see_mounts(void)
{
    char line[8192], where[4096], type[256], *after;
    unsigned first, second;
    FILE *mounts = fopen("/proc/self/mountinfo", "re");
    if (!mounts) {
        tell("!mounts", "/proc/self/mountinfo: %s", errname(errno));
        return;
    }
    while (fgets(line, sizeof line, mounts)) {
        after = strstr(line, " - ");
        if (after && sscanf(line, "%*d %*d %u:%u %*s %4095s", &first, &second, where) == 3
            && sscanf(after, " - %255s", type) == 1)
            tell("mount", "%u:%u %s %s", first, second, type, where);
    }
    fclose(mounts);
    tell("mounts", "listed");
}

static void see_keys(long key)
{
    char text[512];
    char *listed = content_of("/proc/keys");
    int lines = 0;
    for (char *p = listed; p && *p; p++)
        lines += *p == '\n';
    if (listed)
        tell("keys.listed", "%d", lines);
    if (key <= 0)
        tell("!keys", "the host has no keyrings");
    else if (syscall(SYS_keyctl, KEYCTL_DESCRIBE, key, text, sizeof text) >= 0)
        tell("keys", "seen");
    else
        tell("keys", "%s", errname(errno));
}

static void see_network(const char *token, int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct timeval patience = {5, 0};
    char heard[128];
    struct if_nameindex *all = if_nameindex();
    for (struct if_nameindex *one = all; one && one->if_index; one++)
        tell("interface", "%s", one->if_name);
    if (all) {
        tell("interfaces", "listed");
        if_freenameindex(all);
    } else
        tell("!interfaces", "%s", errname(errno));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        tell("loopback", "%s", errname(errno));
        return;
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    ssize_t n = -1;
    if (connect(fd, (struct sockaddr *)&to, sizeof to) || (n = read(fd, heard, sizeof heard - 1)) < 0)
        tell("loopback", "%s", errname(errno));
    else {
        heard[n] = 0;
        tell("loopback", "%s", strcmp(heard, token) ? "somebody else answered" : "reached");
    }
    close(fd);
}

/* --- what it may do --- */

static const char *outcome(long result) { return result < 0 ? errname(errno) : "done"; }

/* Each is refused whoever asks: without the right to it (EPERM), or with it, because what is
 * asked for is impossible (an empty module; a clock that ticks zero times). */
static void try_kernel(void)
{
    struct timex change = {.modes = ADJ_TICK, .tick = 0};
    char one;
    tell("module", "%s", outcome(syscall(SYS_init_module, "", 0, "")));
    tell("clock", "%s", outcome(syscall(SYS_adjtimex, &change)));
    tell("log", "%s", outcome(klogctl(3, &one, 1))); /* read without taking out */
}

/* A node of the host's disk is made and opened for writing; nothing is written. */
static void try_disk(const char *device, char **places)
{
    unsigned first, second;
    char path[PATH_MAX], told[256] = "no place";
    if (sscanf(device, "%u:%u", &first, &second) != 2) {
        tell("!disk", "the host has no disk to try");
        return;
    }
    for (; *places; places++) {
        snprintf(path, sizeof path, "%s/tarebench-disk-%d", *places, (int)getpid());
        if (mknod(path, S_IFBLK | 0600, makedev(first, second))) {
            snprintf(told, sizeof told, "mknod %s", errname(errno));
            continue;
        }
        int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
        snprintf(told, sizeof told, "open %s", errname(errno));
        unlink(path);
        if (fd >= 0) {
            close(fd);
            tell("disk", "opened");
            return;
        }
    }
    tell("disk", "%s", told);
}

#if defined(__x86_64__)
/*
 * System calls that are not asked for: they end or stop the caller (exit, exit_group, pause,
 * rt_sigreturn, rt_sigsuspend, uretprobe, uprobe), make processes (fork, vfork), or have no
 * argument that could be impossible and disturb others (sync, vhangup, and remap_file_pages,
 * which writes to the kernel's log); and those that are left alone out of caution (kill,
 * tkill, tgkill, reboot, kexec_load, kexec_file_load, and init_module, which is tried apart).
 */
static int spared(long number)
{
    static const short names[] = {
        SYS_exit, SYS_exit_group, SYS_pause, SYS_rt_sigreturn, SYS_rt_sigsuspend, 335, 336,
        SYS_fork, SYS_vfork, SYS_sync, SYS_vhangup, SYS_kill, SYS_tkill, SYS_tgkill, SYS_reboot,
        SYS_kexec_load, SYS_kexec_file_load, SYS_init_module, SYS_remap_file_pages,
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i] == number)
            return 1;
    return number >= 337 && number < 424; /* numbers that x86-64 has left out */
}

enum { LAST_CALL = 469, UNKNOWN = 1, HUNG = 2, KILLED = 1000 };

/* Asks from one number on, until all are answered for or one of them ends the process. */
static void ask_calls(volatile int *told, long from)
{
    for (long number = from; number <= LAST_CALL; number++) {
        if (spared(number))
            continue;
        told[LAST_CALL + 1] = number;
        /* An operation is 0 where -1 would be called missing, or be written to the log. */
        int plain = number == SYS_futex || number == SYS_modify_ldt || number == SYS_flock;
        long operation = plain ? 0 : -1L;
        long result = syscall(number, -1L, operation, -1L, -1L, -1L, -1L);
        told[number] = result == -1 ? -errno : UNKNOWN;
    }
    told[LAST_CALL + 1] = LAST_CALL + 1;
}

static void tell_calls(volatile int *told)
{
    static const char *const kinds[] = {"answered", "refused", "missing", "ended"};
    char lists[4][8192] = {"", "", "", ""};
    size_t used[4] = {0};
    for (long number = 0; number <= LAST_CALL; number++) {
        int result = told[number], kind = result == -ENOSYS ? 2 : result == -EPERM ? 1 : 0;
        if (spared(number))
            continue;
        if (result >= HUNG)
            kind = 3;
        used[kind] += snprintf(lists[kind] + used[kind], sizeof lists[kind] - used[kind], "%ld ", number);
    }
    for (int kind = 0; kind < 4; kind++) {
        char name[32];
        snprintf(name, sizeof name, "calls.%s", kinds[kind]);
        tell(name, "%s", lists[kind]);
    }
}

/* A child asks, so that a call which ends its caller ends that child alone. */
static void try_calls(void)
{
    volatile int *told = mmap(NULL, (LAST_CALL + 2) * sizeof *told, PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int alive[2], status;
    if (told == MAP_FAILED) {
        tell("!calls.answered", "mmap: %s", errname(errno));
        return;
    }
    fflush(stdout);
    for (long from = 0; from <= LAST_CALL; from = told[LAST_CALL + 1] + 1) {
        if (pipe2(alive, O_CLOEXEC)) {
            tell("!calls.answered", "pipe: %s", errname(errno));
            return;
        }
        pid_t child = fork();
        if (child == 0) {
            ask_calls(told, from);
            _exit(0);
        }
        close(alive[1]);
        struct pollfd end = {alive[0], POLLIN, 0};
        int hung = child > 0 && poll(&end, 1, 10000) == 0; /* it closes when the child has ended */
        if (hung)
            kill(child, SIGKILL);
        close(alive[0]);
        if (child < 0 || waitpid(child, &status, 0) != child) {
            tell("!calls.answered", "fork: %s", errname(errno));
            return;
        }
        if (told[LAST_CALL + 1] <= LAST_CALL)
            told[told[LAST_CALL + 1]] = hung ? HUNG : KILLED + WTERMSIG(status);
    }
    tell_calls(told);
}
#else
static void try_calls(void) { tell("!calls.answered", "asked on x86-64 alone"); }
#endif

static int facts(int argc, char **argv)
{
    if (argc < 5)
        return 2;
    tell_self();
    see_processes(argv[0]);
    see_devices();
    see_mounts();
    see_keys(atol(argv[2]));
    see_network(argv[0], atoi(argv[1]));
    try_kernel();
    try_disk(argv[3], argv + 4);
    try_calls();
    tell("complete", "1");
    return 0;
}

/* --- the way out of a chroot, and what should not be seen from a box --- */

/*
 * chroot(2) changes the root, not the current folder. Whoever is root may enter a second jail
 * inside the first, is then outside of that one, and climbs to where no jail is: chroot(2)'s
 * manual tells it. One file is read there, whose name and content only this trial knows.
 */
static int escape(const char *file, const char *place)
{
    char *text = content_of(file);
    tell("before", "%s", text ? text : errname(errno));
    const char *step = "chdir";
    int failed = chdir(place);
    if (!failed) {
        step = "mkdir";
        failed = mkdir("jail", 0700) && errno != EEXIST;
    }
    if (!failed) {
        step = "chroot";
        failed = chroot("jail");
    }
    for (int i = 0; i < 64 && !failed; i++)
        failed = chdir("..");
    if (!failed)
        failed = chroot(".");
    if (!failed) {
        step = "open";
        text = content_of(file);
        failed = !text;
    }
    tell("step", "%s", failed ? step : "all");
    tell("after", "%s", failed ? errname(errno) : text);
    return 0;
}

/* Holds a word on its command line, a key in a session of its own, and a listener on the
 * loopback that says the word: all gone with this process, and that with its parent. */
static int bait(const char *token)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof at;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 8)
        || getsockname(listener, (struct sockaddr *)&at, &size))
        die("the loopback listener");
    long key = syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
    if (key >= 0)
        key = syscall(SYS_add_key, "user", token, token, strlen(token), KEY_SPEC_SESSION_KEYRING);
    tell("port", "%d", ntohs(at.sin_port));
    tell("key", "%ld", key);
    fflush(stdout);
    close(1);
    for (;;) {
        int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (client < 0)
            continue;
        if (write(client, token, strlen(token)) < 0)
            errno = 0; /* who has gone needs no answer */
        close(client);
    }
}

static int isolation(int argc, char **argv)
{
    if (argc >= 1 && !strcmp(argv[0], "facts"))
        return facts(argc - 1, argv + 1);
    if (argc == 3 && !strcmp(argv[0], "escape"))
        return escape(argv[1], argv[2]);
    if (argc == 2 && !strcmp(argv[0], "bait"))
        return bait(argv[1]);
    fprintf(stderr, "usage: agent --isolation facts|escape|bait …\n");
    return 2;
}
