/* Faults that need no privilege: the wall clock of a process is stepped, its syncs are slow.
 *
 * Loaded with LD_PRELOAD. TESTBED_PLAN names a file of two 64-bit integers that this process maps and somebody else
 * writes: microseconds that the wall clock is ahead (or behind, below zero), microseconds that each sync takes longer.
 * Monotonic clocks stay as they are, as they do on a host whose time of day is set. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct plan {
    int64_t clock_ahead_us;
    int64_t sync_slower_us;
};

static volatile struct plan *plan;
static int (*real_clock_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void load(void) {
    real_clock_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    const char *path = getenv("TESTBED_PLAN");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *mapped = mmap(NULL, sizeof(struct plan), PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped != MAP_FAILED) plan = mapped;
}

static int64_t ahead_us(void) { return plan ? plan->clock_ahead_us : 0; }

static int true_clock(clockid_t id, struct timespec *at) {
    return real_clock_gettime ? real_clock_gettime(id, at) : (int)syscall(SYS_clock_gettime, id, at);
}

static void step(struct timespec *at) {
    int64_t us = ahead_us();
    if (us == 0) return;
    int64_t ns = at->tv_nsec + (us % 1000000) * 1000;
    at->tv_sec += us / 1000000;
    if (ns >= 1000000000) { ns -= 1000000000; at->tv_sec++; }
    if (ns < 0) { ns += 1000000000; at->tv_sec--; }
    at->tv_nsec = ns;
}

int clock_gettime(clockid_t id, struct timespec *at) {
    int result = true_clock(id, at);
    if (result == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) step(at);
    return result;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    (void)zone;
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0) return -1;
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0) return (time_t)-1;
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}

static void be_slow(void) {
    int64_t us = plan ? plan->sync_slower_us : 0;
    if (us > 0) usleep((useconds_t)us);
}

int fdatasync(int fd) {
    be_slow();
    return (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd) {
    be_slow();
    return (int)syscall(SYS_fsync, fd);
}
