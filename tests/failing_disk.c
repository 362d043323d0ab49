/* Preloaded into a process: what it writes to the ledger's files fails with EIO, once or from some call on. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static long at = 0, seen = 0;
static int lasting = 0;

/* Let the n-th call from now fail, and all after it if `all`; 0 for none. */
void failing_disk_arm(long n, int all) {
    at = n;
    lasting = all;
    seen = 0;
}

/* How many calls there were since. */
long failing_disk_seen(void) { return seen; }

static int fails(int fd) {
    char link[64], path[4096];
    if (at == 0)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    if (strstr(path, "/ledger.db") == NULL)
        return 0;
    seen++;
    if (seen != at && !(lasting && seen > at))
        return 0;
    errno = EIO;
    return 1;
}

#define REAL(type, name, ...)                                                                      \
    static type (*real)(__VA_ARGS__);                                                              \
    if (!real)                                                                                     \
        real = dlsym(RTLD_NEXT, #name)

#define WRITER(name, offset)                                                                       \
    ssize_t name(int fd, const void *data, size_t size, offset place) {                            \
        REAL(ssize_t, name, int, const void *, size_t, offset);                                    \
        return fails(fd) ? -1 : real(fd, data, size, place);                                       \
    }
#define SYNCER(name)                                                                               \
    int name(int fd) {                                                                             \
        REAL(int, name, int);                                                                      \
        return fails(fd) ? -1 : real(fd);                                                          \
    }
#define CUTTER(name, offset)                                                                       \
    int name(int fd, offset size) {                                                                \
        REAL(int, name, int, offset);                                                              \
        return fails(fd) ? -1 : real(fd, size);                                                    \
    }

WRITER(pwrite, off_t)
WRITER(pwrite64, off64_t)
SYNCER(fsync)
SYNCER(fdatasync)
CUTTER(ftruncate, off_t)
CUTTER(ftruncate64, off64_t)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(ssize_t, write, int, const void *, size_t);
    return fails(fd) ? -1 : real(fd, data, size);
}
