/* Watches one process step by step, and does something to it at one step.
 *
 *   tracer PID LOG ROOT KINDS ACTION [STEP [ARGUMENT]]
 *
 * A step is a system call, of any thread of PID, of one of KINDS:
 *
 *   w  changes a file below ROOT, or its locks: open to write, write, rename, link, unlink, mkdir, fsync, fcntl …
 *   r  reads one: open, read, getdents, stat …
 *   p  has to do with processes: spawn, kill, wait, pidfd_open
 *   n  talks over TCP: connect, send, receive
 *   d  makes a file descriptor, of whatever kind
 *
 * ACTION is `log` (only write the steps down), `before` and `after` (SIGKILL before STEP is made, or when it was made and
 * has not returned), `errno` (STEP fails with the error number ARGUMENT), `errno-on` (so does every later step),
 * `half` (STEP writes half of what it should, and every later write below ROOT fails with ARGUMENT), and `pause` (before
 * STEP, says "paused" and goes on when a line comes in).
 *
 * Says "ready" when it has PID, and at the end "STEPS done|killed|reached": how many steps there were, and whether the
 * action took place. The processes that PID starts are not followed: they are jobs.
 *
 * ptrace(2); x86-64 only, for the registers.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct __ptrace_syscall_info Info;

enum { MAX_THREADS = 4096, MAX_SOCKETS = 4096, TEXT = 5 * PATH_MAX };

struct thread {
    pid_t tid;
    int acting;      /* what to do when the call returns: 0 nothing, 1 give it an error, 2 kill */
    char text[TEXT];
};

static struct thread threads[MAX_THREADS];
static int thread_count;
static long sockets[MAX_SOCKETS];
static int socket_count;
static pid_t leader;
static const char *root, *kinds, *action;
static size_t root_length;
static long chosen, argument, steps;
static int reached, failing;
static FILE *out;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static struct thread *thread_of(pid_t tid) {
    for (int i = 0; i < thread_count; i++)
        if (threads[i].tid == tid) return &threads[i];
    if (thread_count == MAX_THREADS) die("too many threads");
    threads[thread_count].tid = tid;
    threads[thread_count].acting = 0;
    return &threads[thread_count++];
}

static void forget(pid_t tid) {
    for (int i = 0; i < thread_count; i++)
        if (threads[i].tid == tid) {
            threads[i] = threads[--thread_count];
            return;
        }
}

static ssize_t peek(pid_t tid, unsigned long from, void *to, size_t size) {
    struct iovec local = {to, size}, remote = {(void *)from, size};
    return process_vm_readv(tid, &local, 1, &remote, 1, 0);
}

static void string(pid_t tid, unsigned long from, char *to) {
    size_t got = 0;
    to[0] = 0;
    while (got < PATH_MAX - 1) {
        size_t page = 4096 - (from + got) % 4096, want = PATH_MAX - 1 - got;
        ssize_t n = peek(tid, from + got, to + got, want < page ? want : page);
        if (n <= 0) break;
        if (memchr(to + got, 0, n)) return;
        got += n;
    }
    to[got] = 0;
}

static void link_of(pid_t tid, const char *what, char *to) {
    char name[64];
    snprintf(name, sizeof name, "/proc/%d/%s", tid, what);
    ssize_t n = readlink(name, to, PATH_MAX - 1);
    to[n < 0 ? 0 : n] = 0;
}

static void descriptor(pid_t tid, int fd, char *to) {
    char what[32];
    snprintf(what, sizeof what, "fd/%d", fd);
    link_of(tid, what, to);
}

static void path(pid_t tid, int at, unsigned long from, char *to) {
    char name[PATH_MAX], base[PATH_MAX];
    string(tid, from, name);
    if (name[0] == '/') {
        strcpy(to, name);
        return;
    }
    if (at == AT_FDCWD) link_of(tid, "cwd", base);
    else descriptor(tid, at, base);
    snprintf(to, 2 * PATH_MAX, "%s%s%s", base, name[0] ? "/" : "", name);
}

static int below(const char *name) { return strncmp(name, root, root_length) == 0; }

static int is_connected(const char *name) {
    long inode;
    if (sscanf(name, "socket:[%ld]", &inode) != 1) return 0;
    for (int i = 0; i < socket_count; i++)
        if (sockets[i] == inode) return 1;
    return 0;
}

static int wants(char kind) { return strchr(kinds, kind) != NULL; }

/* The name of the step that a call is, in `text`; false when it is none. */
static int is_step(pid_t tid, const Info *info, char *text) {
    const __uint64_t *a = info->entry.args;
    static char one[2 * PATH_MAX], two[2 * PATH_MAX];
    const char *name = NULL;
    char kind = 0;
    one[0] = two[0] = 0;
#define FILE_AT(call, k, at, arg) case SYS_##call: name = #call; kind = k; path(tid, at, a[arg], one); break;
#define FILES_AT(call, k, at, arg, at2, arg2) \
    case SYS_##call: name = #call; kind = k; path(tid, at, a[arg], one); path(tid, at2, a[arg2], two); break;
#define OF_FD(call, k) case SYS_##call: name = #call; kind = k; descriptor(tid, a[0], one); break;
#define MAKES_FD(call) case SYS_##call: name = #call; kind = 'd'; break;
    switch (info->entry.nr) {
    case SYS_open:
    case SYS_openat: {
        int is_at = info->entry.nr == SYS_openat;
        int flags = a[is_at + 1];
        name = is_at ? "openat" : "open";
        path(tid, is_at ? (int)a[0] : AT_FDCWD, a[is_at], one);
        kind = (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT) ? 'w' : 'r';
        if (wants('d')) { snprintf(text, TEXT, "d %s %s", name, one); return 1; }
        break;
    }
    FILE_AT(mkdir, 'w', AT_FDCWD, 0)
    FILE_AT(mkdirat, 'w', a[0], 1)
    FILE_AT(rmdir, 'w', AT_FDCWD, 0)
    FILE_AT(unlink, 'w', AT_FDCWD, 0)
    FILE_AT(unlinkat, 'w', a[0], 1)
    FILE_AT(chmod, 'w', AT_FDCWD, 0)
    FILE_AT(fchmodat, 'w', a[0], 1)
    FILE_AT(truncate, 'w', AT_FDCWD, 0)
    FILE_AT(utimensat, 'w', a[0], 1)
    FILES_AT(rename, 'w', AT_FDCWD, 0, AT_FDCWD, 1)
    FILES_AT(renameat, 'w', a[0], 1, a[2], 3)
    FILES_AT(renameat2, 'w', a[0], 1, a[2], 3)
    FILES_AT(link, 'w', AT_FDCWD, 0, AT_FDCWD, 1)
    FILES_AT(linkat, 'w', a[0], 1, a[2], 3)
    FILES_AT(symlink, 'w', AT_FDCWD, 1, AT_FDCWD, 1)
    FILES_AT(symlinkat, 'w', a[1], 2, a[1], 2)
    OF_FD(pwrite64, 'w') OF_FD(pwritev, 'w') OF_FD(fchmod, 'w') OF_FD(ftruncate, 'w') OF_FD(fsync, 'w')
    OF_FD(fdatasync, 'w') OF_FD(flock, 'w') OF_FD(fallocate, 'w') OF_FD(sendfile, 'w') OF_FD(syncfs, 'w')
    case SYS_copy_file_range: name = "copy_file_range"; kind = 'w'; descriptor(tid, a[2], one); break;
    case SYS_fcntl: {
        int command = a[1];
        if (command != F_SETLK && command != F_SETLKW && command != F_OFD_SETLK && command != F_OFD_SETLKW &&
            command != F_SETLEASE) return 0;
        name = command == F_SETLEASE ? "fcntl-lease" : "fcntl-lock";
        kind = 'w';
        descriptor(tid, a[0], one);
        break;
    }
    case SYS_write:
    case SYS_writev:
    case SYS_sendto:
    case SYS_sendmsg:
        name = info->entry.nr == SYS_write ? "write" : info->entry.nr == SYS_writev ? "writev" :
               info->entry.nr == SYS_sendto ? "sendto" : "sendmsg";
        descriptor(tid, a[0], one);
        kind = is_connected(one) ? 'n' : 'w';
        break;
    case SYS_read:
    case SYS_recvfrom:
    case SYS_recvmsg:
        name = info->entry.nr == SYS_read ? "read" : info->entry.nr == SYS_recvfrom ? "recvfrom" : "recvmsg";
        descriptor(tid, a[0], one);
        kind = is_connected(one) ? 'n' : 'r';
        break;
    case SYS_connect: {
        sa_family_t family = 0;
        peek(tid, a[1], &family, sizeof family);
        if (family != AF_INET && family != AF_INET6) return 0;
        long inode;
        descriptor(tid, a[0], one);
        if (sscanf(one, "socket:[%ld]", &inode) == 1 && !is_connected(one) && socket_count < MAX_SOCKETS)
            sockets[socket_count++] = inode;
        name = "connect";
        kind = 'n';
        break;
    }
    OF_FD(getdents64, 'r') OF_FD(pread64, 'r') OF_FD(fstat, 'r')
    FILE_AT(stat, 'r', AT_FDCWD, 0) FILE_AT(lstat, 'r', AT_FDCWD, 0) FILE_AT(access, 'r', AT_FDCWD, 0)
    FILE_AT(newfstatat, 'r', a[0], 1) FILE_AT(statx, 'r', a[0], 1) FILE_AT(faccessat, 'r', a[0], 1)
    FILE_AT(faccessat2, 'r', a[0], 1) FILE_AT(readlink, 'r', AT_FDCWD, 0) FILE_AT(readlinkat, 'r', a[0], 1)
    MAKES_FD(socket) MAKES_FD(accept4) MAKES_FD(epoll_create1) MAKES_FD(eventfd2) MAKES_FD(pipe2) MAKES_FD(socketpair)
    MAKES_FD(dup) MAKES_FD(inotify_init1)
    case SYS_pidfd_open: name = "pidfd_open"; kind = wants('d') ? 'd' : 'p'; break;
    case SYS_vfork: case SYS_fork: name = "fork"; kind = 'p'; break;
    case SYS_clone:
        if (a[0] & CLONE_THREAD) return 0;
        name = "clone"; kind = 'p'; break;
    case SYS_clone3: {
        struct clone_args how = {0};
        peek(tid, a[0], &how, CLONE_ARGS_SIZE_VER0);
        if (how.flags & CLONE_THREAD) return 0;
        name = "clone"; kind = 'p'; break;
    }
    case SYS_kill: case SYS_tgkill: name = "kill"; kind = 'p'; break;
    case SYS_wait4: name = "wait4"; kind = 'p'; break;
    default: return 0;
    }
    if (!wants(kind)) return 0;
    if ((kind == 'w' || kind == 'r') && !below(one) && !below(two)) return 0;
    if (kind == 'n') strcpy(one, "tcp");
    snprintf(text, TEXT, "%c %s%s%s%s%s", kind, name, one[0] ? " " : "", one, two[0] ? " " : "", two);
    return 1;
}

static void registers(pid_t tid, int set_call, long value) {
    struct user_regs_struct r;
    if (ptrace(PTRACE_GETREGS, tid, 0, &r) < 0) return;
    if (set_call) r.orig_rax = value;
    else r.rax = value;
    ptrace(PTRACE_SETREGS, tid, 0, &r);
}

static void halve(pid_t tid) {
    struct user_regs_struct r;
    if (ptrace(PTRACE_GETREGS, tid, 0, &r) < 0) return;
    r.rdx = r.rdx / 2;
    ptrace(PTRACE_SETREGS, tid, 0, &r);
}

static void entering(struct thread *thread, const Info *info) {
    if (!is_step(thread->tid, info, thread->text)) {
        thread->text[0] = 0;
        return;
    }
    steps++;
    fprintf(out, "%ld %s\n", steps, thread->text);
    fflush(out);
    if (failing && strncmp(thread->text, "w write", 7) == 0) {
        registers(thread->tid, 1, -1);
        thread->acting = 1;
        return;
    }
    if (steps < chosen || !chosen) return;
    if (steps > chosen && strcmp(action, "errno-on")) return;
    reached = 1;
    if (!strcmp(action, "before")) kill(leader, SIGKILL);
    else if (!strcmp(action, "after")) thread->acting = 2;
    else if (!strncmp(action, "errno", 5)) {
        registers(thread->tid, 1, -1);
        thread->acting = 1;
    } else if (!strcmp(action, "half")) {
        if (strncmp(thread->text, "w write", 7) == 0) halve(thread->tid);
        failing = 1;
    } else if (!strcmp(action, "pause")) {
        char line[16];
        puts("paused");
        fflush(stdout);
        if (!fgets(line, sizeof line, stdin)) exit(1);
    }
}

static void leaving(struct thread *thread) {
    if (thread->acting == 1) registers(thread->tid, 0, -argument);
    else if (thread->acting == 2) kill(leader, SIGKILL);
    thread->acting = 0;
}

int main(int count, char **values) {
    if (count < 6) return 2;
    leader = atoi(values[1]);
    out = fopen(values[2], "we");
    if (!out) die(values[2]);
    root = values[3];
    root_length = strlen(root);
    kinds = values[4];
    action = values[5];
    chosen = count > 6 ? atol(values[6]) : 0;
    argument = count > 7 ? atol(values[7]) : 0;
    if (!strcmp(action, "log")) chosen = 0;
    long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL;
    if (ptrace(PTRACE_SEIZE, leader, 0, options) < 0) die("PTRACE_SEIZE");
    if (ptrace(PTRACE_INTERRUPT, leader, 0, 0) < 0) die("PTRACE_INTERRUPT");
    int ready = 0, status = 0;
    for (;;) {
        int what;
        pid_t tid = waitpid(-1, &what, __WALL);
        if (tid < 0) {
            if (errno == EINTR) continue;
            break;
        }
        if (!WIFSTOPPED(what)) {
            forget(tid);
            if (tid == leader) {
                status = what;
                break;
            }
            continue;
        }
        int signal = WSTOPSIG(what), event = what >> 16;
        struct thread *thread = thread_of(tid);
        if (signal == (SIGTRAP | 0x80)) {
            Info info;
            if (ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof info, &info) > 0) {
                if (info.op == PTRACE_SYSCALL_INFO_ENTRY) entering(thread, &info);
                else if (info.op == PTRACE_SYSCALL_INFO_EXIT) leaving(thread);
            }
            signal = 0;
        } else if (event == PTRACE_EVENT_STOP && signal != SIGTRAP) {
            ptrace(PTRACE_LISTEN, tid, 0, 0); /* stopped by a signal, until SIGCONT */
            continue;
        } else if (event) {
            signal = 0;
        }
        ptrace(PTRACE_SYSCALL, tid, 0, signal);
        if (!ready) {
            ready = 1;
            puts("ready");
            fflush(stdout);
        }
    }
    printf("%ld %s\n", steps, WIFSIGNALED(status) ? "killed" : reached ? "reached" : "done");
    return 0;
}
