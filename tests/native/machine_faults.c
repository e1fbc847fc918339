/* An odd machine, by LD_PRELOAD: system calls that fail, a journal of writes, a clock that jumps.

   MACHINE_PREFIXES  absolute paths, separated by colons; calls on files below them are looked at
   MACHINE_RULES     rules, separated by commas: call:nth:count:errno, or call:nth:count:short
   MACHINE_COUNTERS  file of eight bytes per rule: calls so far, of all processes together
   MACHINE_JOURNAL   file that every change of a file or directory is appended to, in order
   MACHINE_CLOCK     file of eight bytes: seconds to add to the time of day

   A rule lets the calls nth .. nth + count - 1 fail (count 0: all from the nth on). The layout of
   the journal is in tests/support/machine_faults.py. */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define MOST_RULES 64
#define MOST_PREFIXES 16
#define SHORT (-1)  /* instead of an errno: do half of it */

enum change { CREATE = 1, WRITE, TRUNCATE, FLUSH, FLUSH_DIRECTORY, RENAME, LINK, UNLINK, MKDIR, RMDIR };

struct rule {
    char call[24];
    uint64_t nth, count;
    int error;
};

struct __attribute__((packed)) record {  /* followed by path, other path, data */
    uint32_t kind;
    uint32_t pid;
    uint64_t inode;
    uint64_t offset;
    uint64_t bytes;
    uint32_t path_bytes;
    uint32_t other_bytes;
};

static struct rule rules[MOST_RULES];
static int rule_count;
static char *prefixes[MOST_PREFIXES];
static int prefix_count;
static uint64_t *counters;
static int64_t *clock_offset;
static int journal = -1;
static pid_t owner;
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;
static __thread int inside;  /* our own calls are not looked at */

#define NEXT(type, name, ...) \
    static type (*next)(__VA_ARGS__); \
    if (!next) next = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static void *mapped(const char *variable, size_t bytes)
{
    const char *path = getenv(variable);
    int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0) : -1;
    if (fd < 0) return NULL;
    void *found = (void *)syscall(SYS_mmap, NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    return found == MAP_FAILED ? NULL : found;
}

static void read_rules(char *text)
{
    char *rest = NULL;
    for (char *one = strtok_r(text, ",", &rest); one; one = strtok_r(NULL, ",", &rest)) {
        struct rule *rule = &rules[rule_count];
        char how[16];
        if (rule_count == MOST_RULES ||
            sscanf(one, "%23[^:]:%lu:%lu:%15s", rule->call, &rule->nth, &rule->count, how) != 4) {
            dprintf(2, "machine_faults: not a rule: %s\n", one);
            abort();
        }
        rule->error = strcmp(how, "short") ? atoi(how) : SHORT;
        rule_count++;
    }
}

static void settle_threads(void) { pthread_mutex_lock(&order); }
static void release_threads(void) { pthread_mutex_unlock(&order); }

__attribute__((constructor)) static void begin(void)
{
    owner = (pid_t)syscall(SYS_getpid);
    char *rest = NULL;
    char *text = strdup(getenv("MACHINE_PREFIXES") ? getenv("MACHINE_PREFIXES") : "");
    for (char *one = strtok_r(text, ":", &rest); one; one = strtok_r(NULL, ":", &rest))
        if (prefix_count < MOST_PREFIXES) prefixes[prefix_count++] = one;
    if (getenv("MACHINE_RULES")) read_rules(strdup(getenv("MACHINE_RULES")));
    counters = mapped("MACHINE_COUNTERS", MOST_RULES * sizeof *counters);
    clock_offset = mapped("MACHINE_CLOCK", sizeof *clock_offset);
    if (getenv("MACHINE_JOURNAL")) {
        const char *path = getenv("MACHINE_JOURNAL");
        int low = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CLOEXEC, 0);
        journal = low < 0 ? -1 : (int)syscall(SYS_fcntl, low, F_DUPFD_CLOEXEC, 900);
        if (low >= 0) syscall(SYS_close, low);
    }
    pthread_atfork(settle_threads, release_threads, release_threads);
}

/* -- which calls are looked at */

static int is_ours(const char *path)
{
    for (int i = 0; i < prefix_count; i++) {
        size_t length = strlen(prefixes[i]);
        if (!strncmp(path, prefixes[i], length) &&
            (!path[length] || strchr("/-.", path[length])))  /* and queue.db-wal, out.runs */
            return 1;
    }
    return 0;
}

static int path_of(int fd, char *path)
{
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_ours(path);
}

static int path_at(int directory, const char *name, char *path)
{
    if (!name) return 0;
    if (name[0] == '/') {
        snprintf(path, PATH_MAX, "%s", name);
    } else {
        char base[PATH_MAX];
        if (directory == AT_FDCWD) {
            if (syscall(SYS_getcwd, base, sizeof base) < 0) return 0;
        } else {
            path_of(directory, base);
        }
        if (snprintf(path, PATH_MAX, "%s/%s", base, name) >= PATH_MAX) return 0;
    }
    return is_ours(path);
}

/* -1 with errno set: let the call fail; SHORT as such is told by `half`. */
static int fails(const char *call, int *half)
{
    for (int i = 0; i < rule_count; i++) {
        struct rule *rule = &rules[i];
        if (strcmp(rule->call, call) || !counters) continue;
        uint64_t number = __atomic_add_fetch(&counters[i], 1, __ATOMIC_SEQ_CST);
        if (number < rule->nth || (rule->count && number >= rule->nth + rule->count)) continue;
        if (rule->error == SHORT) {
            if (half) *half = 1;
            continue;
        }
        errno = rule->error;
        return 1;
    }
    return 0;
}

static int fails_at(const char *call, int directory, const char *name)
{
    char path[PATH_MAX];
    return rule_count && !inside && path_at(directory, name, path) && fails(call, NULL);
}

static int fails_on(const char *call, int fd, int *half)
{
    char path[PATH_MAX];
    return rule_count && !inside && path_of(fd, path) && fails(call, half);
}

/* -- the journal */

static void enter(void)
{
    if (journal < 0) return;
    pthread_mutex_lock(&order);
    inside = 1;
    syscall(SYS_flock, journal, LOCK_EX);
}

static void leave(void)
{
    if (journal < 0) return;
    syscall(SYS_flock, journal, LOCK_UN);
    inside = 0;
    pthread_mutex_unlock(&order);
}

static void note(
    enum change kind, uint64_t inode, uint64_t offset, const char *path, const char *other,
    const void *data, uint64_t bytes)
{
    int before = errno;
    struct record record = {
        kind, (uint32_t)owner, inode, offset, bytes, (uint32_t)strlen(path), (uint32_t)strlen(other)};
    struct iovec parts[4] = {
        {&record, sizeof record}, {(void *)path, record.path_bytes},
        {(void *)other, record.other_bytes}, {(void *)data, data ? bytes : 0}};
    syscall(SYS_writev, journal, parts, 4);
    errno = before;
}

static uint64_t inode_of(int fd)
{
    struct stat found;
    return fstat(fd, &found) ? 0 : found.st_ino;
}

/* -- opening */

static int opened(const char *call, int directory, const char *name, int flags, mode_t mode)
{
    char path[PATH_MAX];
    int ours = !inside && (rule_count || journal >= 0) && path_at(directory, name, path);
    if (ours && rule_count && fails(flags & O_CREAT ? "create" : "open", NULL)) return -1;
    (void)call;
    int changes = ours && journal >= 0 && (flags & (O_CREAT | O_TRUNC));
    if (changes) enter();
    int fd = (int)syscall(SYS_openat, directory, name, flags, mode);
    if (changes) {
        if (fd >= 0) note(CREATE, inode_of(fd), !!(flags & O_TRUNC), path, "", NULL, 0);
        leave();
    }
    return fd;
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) \
    { \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more); \
        return opened(#name, AT_FDCWD, path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int directory, const char *path, int flags, ...) \
    { \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more); \
        return opened(#name, directory, path, flags, mode); \
    }
OPENAT(openat)
OPENAT(openat64)

DIR *opendir(const char *path)
{
    NEXT(DIR *, "opendir", const char *);
    return fails_at("opendir", AT_FDCWD, path) ? NULL : next(path);
}

int close(int fd)
{
    /* After vfork the child closes what it has of ours; only this process's own calls count. */
    if (rule_count && (pid_t)syscall(SYS_getpid) == owner && fails_on("close", fd, NULL)) {
        int error = errno;
        syscall(SYS_close, fd);
        errno = error;
        return -1;
    }
    return (int)syscall(SYS_close, fd);
}

/* -- reading and writing */

ssize_t read(int fd, void *data, size_t bytes)
{
    int half = 0;
    if (fails_on("read", fd, &half)) return -1;
    return syscall(SYS_read, fd, data, half ? (bytes + 1) / 2 : bytes);
}

#define PREAD(name) \
    ssize_t name(int fd, void *data, size_t bytes, off_t offset) \
    { \
        int half = 0; \
        if (fails_on("pread", fd, &half)) return -1; \
        return syscall(SYS_pread64, fd, data, half ? (bytes + 1) / 2 : bytes, offset); \
    }
PREAD(pread)
PREAD(pread64)

static ssize_t written(const char *call, int fd, const void *data, size_t bytes, off_t offset)
{
    int half = 0;
    char path[PATH_MAX];
    int ours = !inside && (rule_count || journal >= 0) && path_of(fd, path);
    if (ours && rule_count && fails(call, &half)) return -1;
    if (half) bytes = (bytes + 1) / 2;
    int noted = ours && journal >= 0;
    if (noted) enter();
    ssize_t done = offset < 0 ? syscall(SYS_write, fd, data, bytes)
                              : syscall(SYS_pwrite64, fd, data, bytes, offset);
    if (noted) {
        if (done > 0) {
            off_t end = offset < 0 ? syscall(SYS_lseek, fd, 0, SEEK_CUR) : offset + done;
            note(WRITE, inode_of(fd), (uint64_t)(end - done), path, "", data, (uint64_t)done);
        }
        leave();
    }
    return done;
}

ssize_t write(int fd, const void *data, size_t bytes) { return written("write", fd, data, bytes, -1); }
ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset)
{
    return written("pwrite", fd, data, bytes, offset);
}
ssize_t pwrite64(int fd, const void *data, size_t bytes, off_t offset)
{
    return written("pwrite", fd, data, bytes, offset);
}

static int changed_file(const char *call, enum change kind, int fd, long number, off_t bytes)
{
    char path[PATH_MAX];
    int ours = !inside && (rule_count || journal >= 0) && path_of(fd, path);
    if (ours && rule_count && fails(call, NULL)) return -1;
    int noted = ours && journal >= 0;
    if (noted) enter();
    int done = (int)syscall(number, fd, bytes);
    if (noted) {
        struct stat found;
        if (!done && !fstat(fd, &found)) {
            if (kind == FLUSH && S_ISDIR(found.st_mode)) kind = FLUSH_DIRECTORY;
            note(kind, found.st_ino, (uint64_t)bytes, path, "", NULL, 0);
        }
        leave();
    }
    return done;
}

int fsync(int fd) { return changed_file("fsync", FLUSH, fd, SYS_fsync, 0); }
int fdatasync(int fd) { return changed_file("fsync", FLUSH, fd, SYS_fdatasync, 0); }
int ftruncate(int fd, off_t bytes) { return changed_file("ftruncate", TRUNCATE, fd, SYS_ftruncate, bytes); }
int ftruncate64(int fd, off_t bytes) { return changed_file("ftruncate", TRUNCATE, fd, SYS_ftruncate, bytes); }

#define MMAP(name) \
    void *name(void *at, size_t bytes, int rights, int flags, int fd, off_t offset) \
    { \
        if (fd >= 0 && fails_on("mmap", fd, NULL)) return MAP_FAILED; \
        return (void *)syscall(SYS_mmap, at, bytes, rights, flags, fd, offset); \
    }
MMAP(mmap)
MMAP(mmap64)

/* -- names */

static int moved(
    const char *call, enum change kind, int from, const char *old, int to, const char *new, int flags)
{
    char path[PATH_MAX], other[PATH_MAX];
    int ours = !inside && (rule_count || journal >= 0) && path_at(from, old, path) &&
               path_at(to, new, other);
    if (ours && rule_count && fails(call, NULL)) return -1;
    int noted = ours && journal >= 0;
    if (noted) enter();
    long number = kind == RENAME ? SYS_renameat2 : SYS_linkat;
    int done = (int)syscall(number, from, old, to, new, flags);
    if (noted) {
        if (!done) note(kind, 0, 0, path, other, NULL, 0);
        leave();
    }
    return done;
}

int rename(const char *old, const char *new)
{
    return moved("rename", RENAME, AT_FDCWD, old, AT_FDCWD, new, 0);
}
int renameat(int from, const char *old, int to, const char *new)
{
    return moved("rename", RENAME, from, old, to, new, 0);
}
int link(const char *old, const char *new)
{
    return moved("link", LINK, AT_FDCWD, old, AT_FDCWD, new, 0);
}
int linkat(int from, const char *old, int to, const char *new, int flags)
{
    return moved("link", LINK, from, old, to, new, flags);
}

static int named(const char *call, enum change kind, int directory, const char *name, int number)
{
    char path[PATH_MAX];
    int ours = !inside && (rule_count || journal >= 0) && path_at(directory, name, path);
    if (ours && rule_count && fails(call, NULL)) return -1;
    int noted = ours && journal >= 0;
    if (noted) enter();
    int done = kind == MKDIR ? (int)syscall(SYS_mkdirat, directory, name, (mode_t)number)
                             : (int)syscall(SYS_unlinkat, directory, name, number);
    if (noted) {
        if (!done) note(kind, 0, 0, path, "", NULL, 0);
        leave();
    }
    return done;
}

int unlink(const char *path) { return named("unlink", UNLINK, AT_FDCWD, path, 0); }
int rmdir(const char *path) { return named("rmdir", RMDIR, AT_FDCWD, path, AT_REMOVEDIR); }
int unlinkat(int directory, const char *path, int flags)
{
    int folder = flags & AT_REMOVEDIR;
    return named(folder ? "rmdir" : "unlink", folder ? RMDIR : UNLINK, directory, path, flags);
}
int mkdir(const char *path, mode_t mode) { return named("mkdir", MKDIR, AT_FDCWD, path, (int)mode); }
int mkdirat(int directory, const char *path, mode_t mode)
{
    return named("mkdir", MKDIR, directory, path, (int)mode);
}

/* -- what there is */

#define STATFS(name, type) \
    int name(const char *path, struct type *found) \
    { \
        NEXT(int, #name, const char *, struct type *); \
        return fails_at("statfs", AT_FDCWD, path) ? -1 : next(path, found); \
    }
STATFS(statfs, statfs)
STATFS(statfs64, statfs64)
STATFS(statvfs, statvfs)
STATFS(statvfs64, statvfs64)

/* -- the time of day */

int clock_gettime(clockid_t which, struct timespec *now)
{
    NEXT(int, "clock_gettime", clockid_t, struct timespec *);
    int done = next(which, now);
    if (!done && clock_offset && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE))
        now->tv_sec += *clock_offset;
    return done;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec found;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &found);
    now->tv_sec = found.tv_sec;
    now->tv_usec = found.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out)
{
    struct timespec found;
    clock_gettime(CLOCK_REALTIME, &found);
    if (out) *out = found.tv_sec;
    return found.tv_sec;
}
