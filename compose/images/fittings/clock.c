/* A time of day that can be set for one service: preloaded into its processes, it adds an offset.

   The offset is eight bytes (nanoseconds, little endian) in the file that CROSSTALK_CLOCK names,
   mapped by every process: what is written there counts from the next look at the time on. Only the
   time of day moves; the monotonic clock, and every wait that goes by it, stays true. Deadlines that
   a program reckons by the time of day are moved back before the kernel sees them. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

static const volatile int64_t *offset_ns;

__attribute__((constructor)) static void find(void) {
    const char *path = getenv("CROSSTALK_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *page = mmap(0, sizeof *offset_ns, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (page != MAP_FAILED) offset_ns = page;
}

static void move(struct timespec *at, int64_t by_ns) {
    int64_t ns = at->tv_nsec + by_ns % SECOND;
    at->tv_sec += by_ns / SECOND + (ns < 0 ? -1 : ns >= SECOND);
    at->tv_nsec = (ns + SECOND) % SECOND;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    int failed = syscall(SYS_clock_gettime, clock, at);
    if (!failed && offset_ns && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        move(at, *offset_ns);
    return failed;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    *at = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}

int timespec_get(struct timespec *at, int base) {
    return base == TIME_UTC && !clock_gettime(CLOCK_REALTIME, at) ? base : 0;
}

/* A deadline as the kernel has to see it. One by the monotonic clock counts from the boot, and is
   small: a condition variable does not tell which clock it was made with. */
static struct timespec true_time(const struct timespec *until) {
    struct timespec moved = *until;
    if (offset_ns && moved.tv_sec > SECOND) move(&moved, -*offset_ns);
    return moved;
}

#define DEADLINE(name, thing)                                                                      \
    int name(thing, const struct timespec *restrict until) {                                       \
        static int (*real)(void *, const struct timespec *);                                       \
        if (!real) real = (int (*)(void *, const struct timespec *))dlsym(RTLD_NEXT, #name);       \
        struct timespec moved = true_time(until);                                                  \
        return real(it, &moved);                                                                   \
    }
DEADLINE(sem_timedwait, sem_t *restrict it)
DEADLINE(pthread_mutex_timedlock, pthread_mutex_t *restrict it)

int pthread_cond_timedwait(pthread_cond_t *restrict it, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until) {
    static int (*real)(void *, void *, const struct timespec *);
    if (!real)
        real = (int (*)(void *, void *, const struct timespec *))dlsym(RTLD_NEXT,
                                                                       "pthread_cond_timedwait");
    struct timespec moved = true_time(until);
    return real(it, mutex, &moved);
}
