/* What the load generator measures with: a latency histogram and processor time. */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

enum {
    HISTOGRAM_BITS = 7, /* 128 slots per power of two: less than 0.8 % from slot to slot */
    HISTOGRAM_SUB = 1 << HISTOGRAM_BITS,
    HISTOGRAM_SLOTS = 8192,
};

/* Log-linear: exact below 256 ns, then 128 slots for every doubling. */
struct histogram {
    uint64_t count, sum, max;
    uint64_t slots[HISTOGRAM_SLOTS];
};

static inline unsigned histogram_slot(uint64_t value)
{
    if (value < 2 * HISTOGRAM_SUB)
        return (unsigned)value;
    int shift = 63 - __builtin_clzll(value) - HISTOGRAM_BITS;
    return ((unsigned)shift << HISTOGRAM_BITS) + (unsigned)(value >> shift);
}

static inline double histogram_middle(unsigned slot)
{
    if (slot < 2 * HISTOGRAM_SUB)
        return slot;
    unsigned shift = (slot >> HISTOGRAM_BITS) - 1;
    uint64_t least = (uint64_t)(slot % HISTOGRAM_SUB + HISTOGRAM_SUB) << shift;
    return (double)least + (double)(1ull << shift) / 2;
}

static inline void histogram_add(struct histogram *h, uint64_t value)
{
    h->slots[histogram_slot(value)]++;
    h->count++;
    h->sum += value;
    if (value > h->max)
        h->max = value;
}

/* The latency, in microseconds, that `part` of the operations did not exceed. */
static inline double histogram_us(const struct histogram *h, double part)
{
    uint64_t rank = (uint64_t)(part * (double)h->count + 0.999999), seen = 0;
    for (unsigned slot = 0; slot < HISTOGRAM_SLOTS && h->count > 0; slot++) {
        seen += h->slots[slot];
        if (seen >= rank && seen > 0) {
            double middle = histogram_middle(slot);
            return (middle < (double)h->max ? middle : (double)h->max) / 1000;
        }
    }
    return 0;
}

/* Processor seconds used so far: by this process, by all servers and the first of them, and by
 * everything that runs. */
struct usage {
    double loader, server, first_server, machine;
};

static inline double usage_seconds(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

static inline void usage_read_line(const char *path, char *line, int size)
{
    FILE *file = fopen(path, "r");
    line[0] = '\0';
    if (file == NULL)
        return;
    if (fgets(line, size, file) == NULL)
        line[0] = '\0';
    fclose(file);
}

static inline double usage_of(long pid)
{
    char path[64], line[1024];
    unsigned long user, system;
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    usage_read_line(path, line, sizeof line);
    const char *rest = strrchr(line, ')'); /* the name before it may hold anything */
    if (rest == NULL || sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
                               &user, &system) != 2)
        return 0;
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

/* The servers' share stays 0 without a pid. */
static inline struct usage usage_now(const long *server_pids, unsigned servers)
{
    char line[1024];
    struct usage result = {0, 0, 0, 0};
    struct rusage own;
    getrusage(RUSAGE_SELF, &own);
    result.loader = usage_seconds(own.ru_utime) + usage_seconds(own.ru_stime);

    unsigned long user = 0, nice = 0, system = 0, hard = 0, soft = 0, steal = 0;
    usage_read_line("/proc/stat", line, sizeof line);
    if (sscanf(line, "cpu %lu %lu %lu %*u %*u %lu %lu %lu", &user, &nice, &system, &hard, &soft,
               &steal) == 6)
        result.machine = (double)(user + nice + system + hard + soft + steal) /
                         (double)sysconf(_SC_CLK_TCK);

    for (unsigned i = 0; i < servers; i++) {
        double used = usage_of(server_pids[i]);
        result.server += used;
        if (i == 0)
            result.first_server = used;
    }
    return result;
}

#endif
